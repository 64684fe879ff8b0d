"""Two ranks under DeepSpeed against the same two under Megatron-Core: losses and gradients, for each ZeRO stage."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.prove.layouts.job import WEIGHTS
from tests.distributed.deepspeed_cases import CASES, FAULTS, HANGS, RANKS, SAVED, SLOW, STAGES, STEPS
from tests.distributed.graphs import tiny

ROOT = Path(__file__).parents[2]
LOSS = 1e-4  # relative, at each step
GRADIENT = 1e-5  # relative by norm, at the same weights; as between layouts


def start(folder, cases, seconds):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    return subprocess.run(
        [*command, "-m", "tests.distributed.deepspeed_worker", str(folder), *(case.id for case in cases)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=seconds,
        check=False,
        capture_output=True,
        text=True,
    )


def found_by(folder, cases):
    done = start(folder, cases, 500)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
    return [torch.load(folder / f"deepspeed.{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.fixture(scope="session")
def fast(folder):
    return found_by(folder, [*CASES, *FAULTS])


@pytest.fixture(scope="session")
def slow(folder):
    return found_by(folder, SLOW)


@pytest.fixture
def found(case, request):
    return request.getfixturevalue("slow" if case in SLOW else "fast")


every_case = pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)], ids=lambda case: case.id
)


def apart(gradients, expected):
    """Relative difference of each gradient; what is zero must be zero exactly."""
    assert gradients.keys() == expected.keys()
    return {
        name: float((gradients[name] - one).norm() / one.norm()) if one.any() else float(gradients[name].norm())
        for name, one in expected.items()
    }


@every_case
def test_every_step_has_megatrons_loss_and_gradient_norm(case, found):
    """Over both stages of training; the second trains the projector alone."""
    expected = found[0]["megatron"][case.variant]
    assert len(expected["losses"]) == STEPS + STAGES[1].steps
    for rank in found:
        assert rank[case.id]["losses"] == pytest.approx(expected["losses"], rel=LOSS)
        assert rank[case.id]["norms"] == pytest.approx(expected["norms"], rel=LOSS, abs=0)


@every_case
def test_gradients_are_those_of_the_data_where_one_rank_has_no_picture(case, found):
    expected = found[0]["megatron"][case.variant]["gradients"]
    assert not {
        name: error for name, error in apart(found[0][case.id]["gradients"], expected).items() if not error <= GRADIENT
    }


@every_case
def test_a_resumed_run_goes_on_bit_for_bit(case, found):
    for rank in found:
        resumed, whole = rank[case.id]["resumed"], rank[case.id]
        assert resumed["progress"] == {"step": SAVED}
        uninterrupted = list(zip(whole["losses"], whole["norms"], strict=True))[SAVED:STEPS]
        assert [tuple(result) for result in resumed["results"]] == uninterrupted


@every_case
def test_what_is_frozen_is_not_optimized_and_stays(case, found):
    for rank in found:
        assert rank[case.id]["optimized"] == ["embed_vision.embedding_projection.weight"]
        assert rank[case.id]["changed"] == ["embed_vision.embedding_projection.weight"]


@every_case
def test_a_loss_that_is_no_number_changes_nothing(case, found):
    for rank in found:
        assert rank[case.id]["refused"]["changed"] == []
        message = rank[case.id]["refused"]["message"]
        assert message.startswith("loss nan, gradient norm nan. First in ")
        assert "vision_tower" in message


@every_case
def test_an_export_is_that_of_one_process_with_these_weights(case, found, folder):
    """Bit for bit; the weights are those that DeepSpeed itself gathers."""
    model = build(tiny(case.variant))
    import_weights(model, folder / case.variant / WEIGHTS)  # there are buffers too
    for name, parameter in model.named_parameters():
        parameter.data.copy_(found[0][case.id]["weights"][name])
    alone = export_weights(model, folder / case.id / "alone", overwrite=True)
    exported = folder / case.id / "exported"
    assert sorted(path.name for path in exported.iterdir()) == sorted(path.name for path in alone.iterdir())
    assert (exported / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.id)
def test_a_fault_shows(case, fast):
    expected = fast[0]["megatron"][case.variant]["gradients"]
    assert max(apart(fast[0][case.id]["gradients"], expected).values()) > 1e-3


@pytest.mark.slow
def test_without_idle_towers_ranks_wait_for_each_other_or_fail(folder):
    try:
        done = start(folder, [HANGS], 60)
    except subprocess.TimeoutExpired:
        return
    assert done.returncode != 0
    assert "gloo" in done.stderr  # one rank was sent what it did not ask for; nothing else went wrong
