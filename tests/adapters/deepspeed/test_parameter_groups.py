"""Which parameters decay, and how fast which node learns."""

import pytest

from adapters.deepspeed.parameter_groups import parameter_groups, set_learning_rate
from adapters.megatron import build
from adapters.training.settings import OptimizerSettings, Stage
from adapters.training.stages import freeze_all_but
from tests.distributed.graphs import tiny


@pytest.fixture(scope="module")
def graph():
    return tiny("dense")


@pytest.fixture(scope="module")
def model(graph):
    return build(graph)


SETTINGS = OptimizerSettings(weight_decay=0.1, lr_multipliers={"embed_vision": 0.5})


def test_every_parameter_that_trains_is_in_one_group(graph, model):
    freeze_all_but(model, graph, Stage("some", steps=1, trains=("embed_vision", "language_model")))
    groups = parameter_groups(model, graph, SETTINGS)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = [id(p) for name, p in model.named_parameters() if not name.startswith("vision_tower.")]
    assert sorted(grouped) == sorted(wanted)


def test_vectors_do_not_decay(graph, model):
    freeze_all_but(model, graph, Stage("all", steps=1, trains=tuple(graph.nodes)))
    for group in parameter_groups(model, graph, SETTINGS):
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] == 0.1}


def test_a_nodes_factor_is_on_its_groups(graph, model):
    freeze_all_but(model, graph, Stage("all", steps=1, trains=tuple(graph.nodes)))
    groups = parameter_groups(model, graph, SETTINGS)
    set_learning_rate(groups, 2e-4)
    projector = {id(parameter) for parameter in model.get_submodule("embed_vision").parameters()}
    for group in groups:
        inside = {id(parameter) in projector for parameter in group["params"]}
        assert inside == {group["lr"] == 1e-4}
