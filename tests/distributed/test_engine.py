"""Two ranks train like one: losses and gradient norms over AdamW steps, and what each rank holds of what trains."""

from pathlib import Path

import pytest
import torch

from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, no_progress_bars
from adapters.prove.layouts.batches import global_batches
from tests.distributed import engine_worker
from tests.distributed.engine_cases import CASES, STAGES
from tests.distributed.graphs import VARIANTS, tiny
from tests.torchrun import torchrun


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A checkpoint of each variant, and micro-batches."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("engine")
    for variant in VARIANTS:
        graph = tiny(variant)
        oracle = build_oracle(graph)
        with no_progress_bars():
            oracle.save_pretrained(folder / variant)
        for name, batch in global_batches(make_batch(graph, oracle)).items():
            torch.save(batch.micro_batches, folder / f"{variant}.{name}.pt")
    return folder


@pytest.fixture(scope="module")
def alone(data):
    """The same steps on this one process, by the name of what was run."""
    wanted = {case.alone.id: case.alone for case in CASES}
    return {name: engine_worker.run(case, data) for name, case in wanted.items()}


@pytest.fixture(scope="module")
def ranks(data):
    """What two ranks found in every case."""
    torchrun(2, "-m", "tests.distributed.engine_worker", data)
    return {
        case.id: [torch.load(data / f"{case.id}.{rank}.steps.pt", weights_only=True) for rank in (0, 1)]
        for case in CASES
    }


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@every_case
def test_losses_and_norms_are_those_of_one_rank(case, alone, ranks):
    expected = alone[case.alone.id]
    for found in ranks[case.id]:
        assert found["loss"] == pytest.approx(expected["loss"], rel=case.bound)
        assert found["norm"] == pytest.approx(expected["norm"], rel=10 * case.bound)
    assert ranks[case.id][0]["loss"] == ranks[case.id][1]["loss"]
    assert ranks[case.id][0]["norm"] == ranks[case.id][1]["norm"]
    assert expected["loss"][-1] < 0.98 * expected["loss"][0]


@pytest.mark.parametrize("variant", ["experts", "dense"])
def test_bf16_starts_where_fp32_does_and_learns(variant, alone):
    fp32, bf16 = (alone[f"{variant}-alone_{precision}_pictures"]["loss"] for precision in ("fp32", "bf16"))
    assert bf16[0] == pytest.approx(fp32[0], rel=1e-2)
    assert bf16[-1] < 0.98 * bf16[0]


@every_case
def test_frozen_parameters_have_neither_gradients_nor_optimizer_state(case, ranks):
    for found in ranks[case.id]:
        assert len(found["holds"]) == len(STAGES)
        for holds in found["holds"]:
            trained = sum(holds["sizes"][name] for name in holds["trains"])
            assert holds["gradients"] == holds["trains"]
            assert holds["changed"] <= holds["trains"]
            assert holds["buffers"] == trained
            assert holds["optimizer"] <= trained
        assert found["holds"][-1]["changed"]
    together = sum(found["holds"][-1]["optimizer"] for found in ranks[case.id])
    whole = ranks[case.id][0]["holds"][-1]
    if case.settings.distributed_optimizer and "dp2" in case.name:
        assert together == sum(whole["sizes"].values())


@pytest.mark.parametrize(
    ("layout", "different"), [("tp2sp", {"parts"}), ("ep2", {"experts"}), ("ep2tp2sp", {"parts", "experts"})]
)
def test_fresh_parameters_are_the_same_where_they_are_copies_and_only_there(layout, different, ranks, data):
    first, second = (torch.load(data / f"fresh.{layout}.{rank}.pt", weights_only=True) for rank in (0, 1))
    for kind in ("experts", "parts", "copies"):
        values = first[kind]
        assert values.keys() == second[kind].keys()
        random = {name for name, value in values.items() if value.unique().numel() > 1}
        same = {name for name in random if torch.equal(values[name], second[kind][name])}
        assert random, kind
        assert same == (set() if kind in different else random), kind


def test_fresh_layers_of_two_pipeline_ranks_differ(ranks, data):
    first, second = (torch.load(data / f"fresh.pp2.{rank}.pt", weights_only=True) for rank in (0, 1))
    names = [name for name in first["parts"].keys() & second["parts"].keys() if ".layers.0." in name]
    assert names
    assert not [name for name in names if torch.equal(first["parts"][name], second["parts"][name])]
    drawn, other = first["device"], second["device"]
    assert not torch.equal(drawn["model-parallel-rng"], other["model-parallel-rng"])
