"""Gradients of a composed model under the names, and in the shapes, of the Hugging Face model."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from adapters.huggingface.weight_map import Entry, weight_map

if TYPE_CHECKING:
    from composer import Graph


def entries(model: nn.Module, graph: "Graph") -> tuple[Entry, ...]:
    """The weight map of a model that is all on one stage."""
    tensors = [name for name, value in model.state_dict().items() if isinstance(value, Tensor)]
    return weight_map(graph, tensors)


def gradients(model: nn.Module, graph: "Graph") -> dict[str, Tensor]:
    """Gradient of every parameter by Hugging Face name, zero where none arrived."""
    parameters = dict(model.named_parameters())
    arrived = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in parameters.items()
    }
    found: dict[str, Tensor] = {}
    for entry in entries(model, graph):
        if all(name in arrived for name in entry.composed):
            for name, piece in entry.pieces(arrived).items():
                found[name] = piece.values()
    return found


def oracle_gradients(oracle: nn.Module) -> dict[str, Tensor]:
    """Gradient of every parameter of transformers' model, in the order in which parameters are used."""
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in oracle.named_parameters()
        if parameter.requires_grad  # some numbers are parameters in name only
    }
