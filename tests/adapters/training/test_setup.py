"""Settings for a graph."""

import pytest

from adapters.cli.arguments import spec_file
from adapters.training.problems import TrainingError
from adapters.training.settings import Stage, Training
from adapters.training.setup import check_settings, fitted
from composer import load
from composer.plans.layout import Layout
from tests.parity.shipped_spec import tiny_graph


def test_experts_get_sequence_parallelism_beside_tensor_parallelism():
    one = Training(stages=(Stage("all", 1, ("language_model",)),), layout=Layout(tp=2))
    experts, dense = tiny_graph(0), tiny_graph(1)
    assert fitted(one, experts).layout == Layout(tp=2, sequence_parallel=True)
    assert fitted(one, dense) == one
    alone = Training(stages=one.stages)
    assert fitted(alone, experts) == alone


@pytest.mark.parametrize("name", ["mistral3", "qwen3_vl"])
def test_towers_that_read_pictures_otherwise_are_refused_before_the_run(name: str):
    graph = load(spec_file(name))
    settings = Training(stages=(Stage("all", 1, ("all",)),), max_length=128)
    with pytest.raises(TrainingError, match="this spec's tower reads them otherwise: train it in a loop of your own"):
        check_settings(settings, graph)


@pytest.mark.parametrize("name", ["llava", "internvl", "compose_your_own"])
def test_towers_that_read_whole_pictures_are_not(name: str):
    check_settings(Training(stages=(Stage("all", 1, ("projector",)),), max_length=128), load(spec_file(name)))


def test_towers_that_read_patches_are_not():
    check_settings(Training(stages=(Stage("all", 1, ("projector",)),), max_length=128), load(spec_file("gemma4_vl")))
