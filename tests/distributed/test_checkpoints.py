"""What one layout saves, another continues: every tensor bit for bit, the next step within 1e-5."""

from pathlib import Path

import pytest
import torch
from attrs import evolve

from adapters.megatron import checkpoint
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle
from tests.distributed import checkpoint_faults
from tests.distributed.checkpoint_cases import (
    FAULTS,
    FURTHER,
    ONE_RANK_FAULTS,
    RESHARDED,
    RESUMED,
    SAVED,
    SOURCES,
    START,
    STARTS,
)
from tests.distributed.checkpoint_run import Run, checkpoint_of, micro_batches, whole
from tests.distributed.graphs import VARIANTS, tiny
from tests.torchrun import torchrun

BOUND = 1e-5
LIKE_ONE_RANK = [case for case in SOURCES if case.goes_on_as_one_rank]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """What one rank saved, by kind, and how it went on."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.set_num_threads(1)
    for variant in VARIANTS:
        graph = tiny(variant)
        torch.save(micro_batches(make_batch(graph, build_oracle(graph))), folder / f"{variant}.pt")
    found = {}
    for case in STARTS:
        run = Run(case, torch.load(folder / f"{case.variant}.pt", weights_only=True), seed=0)
        run.step(START)
        checkpoint.save(checkpoint_of(folder, case, START), run.stages, run.optimizer, {"step": START})
        saved = whole([run.tensors()])
        found[case.kind] = {"saved": saved, "losses": [run.step(START + 1)], "next": whole([run.tensors()])}
    return folder, found


@pytest.fixture(scope="module")
def ranks(start):
    """What both ranks found, by case and hop; their tensors put together."""
    folder, _ = start
    torchrun(2, "-m", "tests.distributed.checkpoint_worker", folder, seconds=400)
    return {each.id: _joined(folder, each.id) for each in (*SOURCES, *RESUMED, *RESHARDED, *FAULTS)}


def _joined(folder: Path, name: str):
    found = [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in range(2)]
    assert found[0]["losses"] == found[1]["losses"]
    return {
        field: whole([each[field] for each in found]) if isinstance(value, list) and field != "losses" else value
        for field, value in found[0].items()
        if field != "children"
    } | {"children": [each.get("children") for each in found]}


def different(expected, found):
    """Names of tensors that are not the same bit for bit."""
    assert found.keys() == expected.keys()
    return [name for name in expected if not torch.equal(found[name], expected[name])]


def errors(expected, found):
    """Largest relative difference of a loss, or by norm of a tensor after the next step."""
    tensors = {name: float((found["next"][name] - one).norm() / one.norm()) for name, one in expected["next"].items()}
    losses = zip(expected["losses"], found["losses"], strict=False)
    return max(*tensors.values(), *(abs(other / one - 1) for one, other in losses))


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.id)
def test_two_ranks_read_what_one_saved(case, start, ranks):
    assert not different(start[1][case.kind]["saved"], ranks[case.id]["loaded"])


@pytest.mark.parametrize("case", [case for case in LIKE_ONE_RANK if not case.trains], ids=lambda case: case.id)
def test_two_ranks_go_on_as_the_one_that_saved(case, start, ranks):
    found = ranks[case.id]
    assert errors(start[1][case.kind], {"losses": [found["first_loss"]], "next": found["saved"]}) <= BOUND


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.id)
def test_a_save_is_complete_once_finished_and_leaves_no_process(case, ranks):
    found = ranks[case.id]
    assert found["complete"]
    assert not found["early"]
    assert found["children"] == [[], []]


@pytest.mark.parametrize("hop", [*RESUMED, *RESHARDED], ids=lambda hop: hop.id)
def test_every_tensor_arrives(hop, ranks):
    assert not different(ranks[hop.source.id]["saved"], ranks[hop.id]["loaded"])
    assert ranks[hop.id]["progress"] == {"step": SAVED}


@pytest.mark.parametrize("hop", RESHARDED, ids=lambda hop: hop.id)
def test_another_layout_goes_on(hop, ranks):
    assert errors(ranks[hop.source.id], ranks[hop.id]) <= BOUND


@pytest.mark.parametrize("hop", RESUMED, ids=lambda hop: hop.id)
def test_the_same_layout_goes_on_bit_for_bit(hop, ranks):
    uninterrupted, resumed = ranks[hop.source.id], ranks[hop.id]
    assert len(resumed["losses"]) == FURTHER
    assert resumed["losses"] == uninterrupted["losses"]
    assert not different(uninterrupted["next"], resumed["next"])


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.id)
def test_one_rank_reads_what_two_saved_and_goes_on(case, start, ranks):
    found = read_alone(start[0], case)
    assert not different(ranks[case.id]["saved"], found["loaded"])
    if case.goes_on_as_one_rank:
        assert errors(ranks[case.id], found) <= BOUND


def read_alone(folder, case, fault=None):
    """What one rank loads, into other weights, and how it goes on."""
    alone = evolve(case, name="one", sizes={}, settings={})
    run = Run(alone, torch.load(folder / f"{case.variant}.pt", weights_only=True), seed=3)
    with checkpoint_faults.loading(fault):
        checkpoint.load(checkpoint_of(folder, case, SAVED), run.stages, run.optimizer)
    loaded = whole([run.tensors()])
    return {"loaded": loaded, "losses": [run.step(SAVED + 1)], "next": whole([run.tensors()])}


@pytest.mark.parametrize("hop", FAULTS, ids=lambda hop: hop.id)
def test_a_fault_shows(hop, start, ranks):
    expected = start[1][hop.source.kind] if hop.source in STARTS else ranks[hop.source.id]
    assert errors(expected, ranks[hop.id]) > 10 * BOUND


@pytest.mark.parametrize("hop", ONE_RANK_FAULTS, ids=lambda hop: hop.id)
def test_a_fault_shows_on_one_rank(hop, start, ranks):
    assert errors(ranks[hop.source.id], read_alone(start[0], hop.source, hop.fault)) > 10 * BOUND
