"""Which nodes train in a stage."""

import difflib
from collections.abc import Sequence

from attrs import frozen
from torch import nn

from adapters.training.settings import Stage, Training
from composer import Graph


@frozen
class NodeSize:
    """A node's parameters in a stage; each tensor is counted once, also where two nodes share it."""

    node: str
    role: str
    parameters: int
    trains: bool


def unknown_nodes(settings: Training, graph: Graph) -> list[tuple[str, str]]:
    """(path, message) for every name in the settings that is no node of the graph, and every stage that trains none."""
    found = []
    for index, stage in enumerate(settings.stages):
        path = f"stages[{index}].trains"
        if not stage.trains:
            found.append((path, f"stage {stage.name} trains nothing."))
        found += [
            _unknown(f"{path}[{at}]", name, graph) for at, name in enumerate(stage.trains) if name not in graph.nodes
        ]
    factors = settings.optimizer.lr_multipliers
    found += [_unknown(f"optimizer.lr_multipliers.{name}", name, graph) for name in factors if name not in graph.nodes]
    return found


def _unknown(path: str, name: str, graph: Graph) -> tuple[str, str]:
    near = difflib.get_close_matches(name, graph.nodes, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return path, f"no node {name}.{hint} Nodes: {', '.join(graph.nodes)}."


def freeze_all_but(model: nn.Module, graph: Graph, stage: Stage) -> None:
    """Leave gradients on for the nodes that the stage trains, and off for all others that are on this rank."""
    for name in graph.nodes:
        module: nn.Module | None = getattr(model, name, None)
        if module is not None:
            module.requires_grad_(name in stage.trains)


def node_sizes(models: Sequence[nn.Module], graph: Graph, stage: Stage) -> tuple[NodeSize, ...]:
    """Parameters of every node on this rank, in the order of the spec, and whether the stage trains it."""
    seen: set[int] = set()
    sizes = []
    for name in graph.nodes:
        modules = [module for model in models if (module := getattr(model, name, None)) is not None]
        own = [p for module in modules for p in module.parameters() if id(p) not in seen]
        seen.update(id(parameter) for parameter in own)
        count = sum(parameter.numel() for parameter in own)
        sizes.append(NodeSize(name, graph.component(name).role, count, name in stage.trains))
    return tuple(sizes)
