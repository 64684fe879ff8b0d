"""Every parameter of a built model as plans see it: what it belongs to, which layer, which expert, how it is split.

What a parameter belongs to is read off the modules around it, by their type and place, not off a family's names.
"""

import re
from typing import Any

from attrs import evolve
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.moe.router import Router
from torch import nn

from adapters.megatron import ComposedModel
from adapters.megatron.parameter_names import canonical_names
from components.language.attention import AttentionHalf
from components.language.delta_net import GatedDeltaNet
from components.language.shared_gate import SharedGate
from composer.graph import Graph
from composer.plans.inventory import Parameter, Part

LAYER = re.compile(r"\.layers\.(\d+)\.")
EXPERT = re.compile(r"\.local_experts\.(\d+)\.")
DECODER_PARTS: tuple[tuple[type[nn.Module], Part], ...] = (
    (LanguageModelEmbedding, "embeddings"),
    (AttentionHalf, "attention"),
    (GatedDeltaNet, "attention"),
    (Router, "router"),
    (SharedGate, "router"),
    (MoELayer, "experts"),
    (MLP, "dense"),
)
"""Innermost first to match: a router stands inside an expert layer, and experts are MLPs inside one."""


def model_parameters(graph: Graph, model: ComposedModel) -> list[Parameter]:
    """Parameters of the whole model, built by one rank alone, in its own order."""
    found = []
    for name, parameter in model.named_parameters():
        node = name.partition(".")[0]
        decoder = graph.component(node).role == "decoder"
        layer, expert = LAYER.search(name), EXPERT.search(name)
        found.append(
            Parameter(
                name=name,
                node=node,
                part=_part(graph, model, node, name),
                shape=tuple(parameter.shape),
                split=_split(parameter),
                layer=int(layer[1]) if decoder and layer else None,
                expert=int(expert[1]) if expert else None,
            )
        )
    return found


def rank_parameters(graph: Graph, model: ComposedModel) -> list[Parameter]:
    """Parameters of one pipeline stage of one rank, by their names in the whole model; shapes are the rank's own."""
    found = []
    for name, parameter in zip(canonical_names(model), model_parameters(graph, model), strict=True):
        layer, expert = LAYER.search(name), EXPERT.search(name)
        found.append(
            evolve(
                parameter,
                name=name,
                # The last stage's copy of a tied table stands where an output layer would.
                part="embeddings" if parameter.part == "head" and model.program.tied else parameter.part,
                layer=None if parameter.layer is None or layer is None else int(layer[1]),
                expert=int(expert[1]) if expert else None,
            )
        )
    return found


def _split(parameter: nn.Parameter) -> int | None:
    """Megatron-Core marks what tensor-parallel ranks hold a part of."""
    split: int | None = getattr(parameter, "partition_dim", None)
    return split if getattr(parameter, "tensor_model_parallel", False) else None


def _part(graph: Graph, model: ComposedModel, node: str, name: str) -> Part:
    around = _modules_around(getattr(model, node), name.split(".")[1:-1])
    if is_norm(around[-1]):
        return "norms"
    role = graph.component(node).role
    if role == "tower":
        return "tower"
    if role == "projector":
        return "projector"
    for kind, part in DECODER_PARTS:
        if any(isinstance(module, kind) for module in around):
            return part
    # What is left stands beside the layers: the output layer.
    return "head"


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm: of torch, of ours, or of a library, which all call theirs so."""
    return "norm" in type(module).__name__.lower() and not any(True for _ in module.children())


def _modules_around(module: Any, path: list[str]) -> list[nn.Module]:
    """A node's module and those inside it that hold the parameter, outermost first."""
    around = [module]
    for name in path:
        around.append(getattr(around[-1], name))
    return around
