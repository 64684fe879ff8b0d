"""Checkpoints of a real engine in one process: what is left behind, what is refused."""

import attrs
import pytest

from adapters.checkpoint_folder import stage
from adapters.deepspeed.engine import DeepSpeedEngine
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import build
from adapters.training.settings import Stage, Training
from composer.plans.layout import Zero
from tests.distributed.graphs import tiny

ALIGN = Stage("align", steps=1, trains=("embed_vision",))
SETTINGS = Training(stages=(ALIGN,), global_batch=1, engine="deepspeed", zero=Zero(1))


@pytest.fixture(scope="module")
def engine():
    return begun(SETTINGS)


def begun(settings):
    made = DeepSpeedEngine(build(tiny("dense")), settings)
    made.begin_stage(ALIGN)
    return made


def test_a_save_removes_what_killed_runs_left(engine, tmp_path):
    stage(tmp_path / "step-00000001")
    engine.save(tmp_path / "step-00000002", {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    assert engine.load(tmp_path / "step-00000002") == {"step": 2}


def test_another_zero_stage_is_refused_before_anything_is_loaded(engine, tmp_path):
    engine.save(tmp_path / "step-00000002", {"step": 2})
    other = begun(attrs.evolve(SETTINGS, zero=Zero(2)))
    with pytest.raises(CheckpointError, match="zero_stage: the checkpoint has 1, this run 2"):
        other.load(tmp_path / "step-00000002")


@pytest.mark.parametrize("blocked", ["checkpoints", "checkpoints/step-00000002"])
def test_a_folder_that_cannot_be_made_is_an_error_of_the_checkpoint(blocked, engine, tmp_path):
    """Of the kind that rank 0 tells all ranks."""
    path = tmp_path / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    with pytest.raises(CheckpointError, match="step-00000002"):
        engine.save(tmp_path / "checkpoints" / "step-00000002", {})
