"""Which nodes train in a stage, and the optimizer over exactly their parameters."""

import difflib

import torch
from attrs import frozen
from torch import nn

from adapters.training.settings import OptimizerSettings, Stage, Training
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


def node_module(model: nn.Module, node: str) -> nn.Module:
    """The submodule of a composed model that a node was built into."""
    return model.get_submodule(node)


def freeze_all_but(model: nn.Module, graph: Graph, stage: Stage) -> None:
    """Leave gradients on for the nodes that the stage trains, and off everywhere else."""
    for name in graph.nodes:
        node_module(model, name).requires_grad_(name in stage.trains)


def node_sizes(model: nn.Module, graph: Graph, stage: Stage) -> tuple[NodeSize, ...]:
    """Parameters of every node, in the order of the spec, and whether the stage trains it."""
    seen: set[int] = set()
    sizes = []
    for name in graph.nodes:
        own = [parameter for parameter in node_module(model, name).parameters() if id(parameter) not in seen]
        seen.update(id(parameter) for parameter in own)
        count = sum(parameter.numel() for parameter in own)
        sizes.append(NodeSize(name, graph.component(name).role, count, name in stage.trains))
    return tuple(sizes)


def make_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over what requires gradients; weight decay for matrices and tables, none for vectors and scalars."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    used = [group for group in groups if group["params"]]
    return torch.optim.AdamW(used, settings.lr, betas, settings.eps, fused=True)
