"""A whole run with `engine: deepspeed`, by the same loop, in one process."""

import shutil

import attrs
import pytest
from rich.console import Console
from safetensors.torch import load_file

from adapters.training.checkpoint_settings import Checkpoints
from adapters.training.job import run
from composer.plans.layout import Zero


@pytest.fixture
def job(graph, settings, data_dir):
    chosen = attrs.evolve(settings, engine="deepspeed", zero=Zero(3), checkpoints=Checkpoints(every=2))

    def started(folder, **options):
        with pytest.warns(UserWarning, match="ten times slower"):
            return run(graph, chosen, data_dir, folder, **options)

    return started


def test_it_trains_saves_resumes_and_exports(job, tmp_path):
    folder = tmp_path / "run"
    whole = job(folder)
    assert [record.stage for record in whole.records] == ["align"] * 2 + ["all"] * 3
    saved = folder / "checkpoints"
    assert [path.name for path in sorted(saved.iterdir())] == ["step-00000002", "step-00000004"]
    weights = load_file(folder / "hf" / "model.safetensors")
    shutil.rmtree(saved / "step-00000004")
    resumed = job(folder, resume=True)
    assert [record.loss for record in resumed.records] == [record.loss for record in whole.records]
    again = load_file(folder / "hf" / "model.safetensors")
    assert weights.keys() == again.keys()
    assert all(tensor.equal(again[name]) for name, tensor in weights.items())


@pytest.mark.parametrize("zero", [Zero(0), Zero(1), Zero(2, offload=True), Zero(3)], ids=str)
@pytest.mark.filterwarnings("ignore:ZeRO-3 gathers")
def test_a_dry_run_steps_once_on_a_part_of_the_global_batch(zero, graph, settings, data_dir, tmp_path):
    chosen = attrs.evolve(settings, engine="deepspeed", zero=zero)
    assert chosen.micro_batch < chosen.global_batch
    screen = Console(record=True, width=200)
    run(graph, chosen, data_dir, tmp_path / "run", dry_run=True, console=screen)
    assert "Dry run: nothing trained." in screen.export_text()
    assert not (tmp_path / "run").exists()
