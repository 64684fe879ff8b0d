"""Weights, gradients, optimizer state and passes in flight of Megatron-Core's own objects, against the plan: equal.

With the shared optimizer, Megatron-Core pads buffers: the plan may be short by that, and by no more.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from composer.plans.hardware import Efficiency, Hardware
from composer.plans.memory import memory_of
from tests.adapters.plans.planned_bytes import job_of, planned_model
from tests.adapters.plans.state_cases import CASES, MICRO_BATCHES, RANKS, StateCase
from tests.torchrun import torchrun

pytestmark = pytest.mark.slow

PADDING = 128 * 4 * 4  # bytes: ends of a dense and an expert buffer are rounded up, in elements of up to 16 bytes
STARTS = 64 * 4  # bytes: where each parameter begins in a gradient buffer is rounded up to 64 elements


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Of every case, rank by rank."""
    file = tmp_path_factory.mktemp("states") / "count"
    torchrun(RANKS, "-m", "tests.adapters.plans.state_worker", file)
    ranks = [json.loads(Path(f"{file}.{rank}").read_text(encoding="utf-8")) for rank in range(RANKS)]
    return {name: [rank[name] for rank in ranks] for name in ranks[0]}


def planned(case: StateCase) -> list[dict[str, Any]]:
    """By pipeline rank."""
    model = planned_model(case.case.model, case.case.trains)
    batch = MICRO_BATCHES * case.case.micro_batch * case.execution.data_ranks
    nothing = Hardware("none", 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, Efficiency(1, 1, 1, 1, 1))
    answer = memory_of(model, evolve(job_of(case.case), global_batch=batch), case.execution, nothing, device="cpu")
    names = ("weights", "gradients", "optimizer")
    return [{name: getattr(rank.memory, name) for name in names} | {"in_flight": rank.in_flight} for rank in answer]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case.name)
def test_states_are_those_of_the_engine(case: StateCase, counts: dict[str, list[dict[str, Any]]]):
    ranks = planned(case)
    for count in counts[case.case.name]:
        plan = ranks[count["pipeline"]]
        assert plan["weights"] == count["weights"]
        if case.distributed_optimizer:
            tensors = len(planned_model(case.case.model, case.case.trains).trained)
            assert 0 <= count["gradients"] - plan["gradients"] <= PADDING + tensors * STARTS
            assert abs(count["optimizer"] - plan["optimizer"]) <= PADDING + tensors * STARTS * 4
        else:
            assert plan["gradients"] == count["gradients"]
            assert plan["optimizer"] == count["optimizer"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case.name)
def test_passes_in_flight_are_those_of_the_schedule(case: StateCase, counts: dict[str, list[dict[str, Any]]]):
    ranks = planned(case)
    for count in counts[case.case.name]:
        assert list(ranks[count["pipeline"]]["in_flight"]) == count["in_flight"]
