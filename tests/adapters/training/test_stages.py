"""What trains in a stage, and with which optimizer."""

import attrs
import pytest
from torch import nn

from adapters.training.problems import TrainingError
from adapters.training.settings import Stage, Training
from adapters.training.setup import check_settings
from adapters.training.stages import freeze_all_but, node_sizes
from composer import Graph


def test_exactly_the_named_nodes_train(model: nn.Module, graph: Graph) -> None:
    for trains in [("embed_vision",), ("vision_tower", "language_model"), tuple(graph.nodes)]:
        stage = Stage("s", 1, trains)
        freeze_all_but(model, graph, stage)
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == name.startswith(tuple(f"{node}." for node in trains)), name
        sizes = node_sizes([model], graph, stage)
        assert [size.node for size in sizes if size.trained] == [node for node in graph.nodes if node in trains]
        assert sum(size.parameters for size in sizes) == sum(p.numel() for p in model.parameters())


def test_unknown_nodes_and_useless_stages_are_told_together(graph: Graph, settings: Training) -> None:
    stages = (Stage("a", 1, ("vision_towr",)), Stage("b", 1, ()))
    with pytest.raises(TrainingError) as caught:
        check_settings(attrs.evolve(settings, stages=stages, max_length=10**6), graph)
    problems = "\n".join(caught.value.problems)
    assert "stages[0].trains[0]: no node is called vision_towr. Did you mean 'vision_tower'?" in problems
    assert "stages[1].trains: stage b trains nothing." in problems
    assert "max_length: 1000000 is beyond the decoder's 512 positions." in problems
