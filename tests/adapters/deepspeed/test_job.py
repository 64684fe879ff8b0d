"""A whole run with `engine: deepspeed`, by the same loop, in one process."""

import attrs
import pytest
from safetensors.torch import load_file

from adapters.training.job import run
from adapters.training.layout_settings import Checkpoints, Zero

pytest_plugins = ["tests.adapters.training.conftest"]


@pytest.fixture
def job(graph, settings, data_dir):
    chosen = attrs.evolve(settings, engine="deepspeed", zero=Zero(3), checkpoints=Checkpoints(every=2))

    def started(folder, **options):
        return run(graph, chosen, data_dir, folder, **options)

    return started


def test_it_trains_saves_resumes_and_exports(job, tmp_path):
    whole = job(tmp_path / "whole")
    assert [record.stage for record in whole.records] == ["align"] * 2 + ["all"] * 3
    saved = tmp_path / "whole" / "checkpoints"
    assert [path.name for path in sorted(saved.iterdir())] == ["step-00000002", "step-00000004"]
    again = tmp_path / "again"
    again.mkdir()
    (saved.rename(again / "checkpoints") / "step-00000004").rename(again / "later")
    resumed = job(again, resume=True)
    assert [record.loss for record in resumed.records] == [record.loss for record in whole.records][-3:]
    exported = [load_file(folder / "hf" / "model.safetensors") for folder in (tmp_path / "whole", again)]
    assert exported[0].keys() == exported[1].keys()
    assert all(tensor.equal(exported[1][name]) for name, tensor in exported[0].items())
