"""The torch side of `example.gated_projector`: imported when a model is built. Legend: N rows, C and H widths."""

from typing import Any

import torch
from torch import Tensor, nn

from gated_projector.declaration import GatedProjector


class GatedRows(nn.Module):
    """[N, C] to [N, H]."""

    def __init__(self, section: GatedProjector) -> None:
        super().__init__()
        self.rows = nn.Linear(section.in_dim, section.out_dim)
        self.gate = nn.Linear(section.in_dim, section.out_dim)

    def forward(self, features: Tensor) -> Tensor:
        opened: Tensor = self.rows(features) * torch.sigmoid(self.gate(features))
        return opened


def build(section: GatedProjector, context: Any) -> nn.Module:
    """The module, in the type of the model's parameters."""
    return GatedRows(section).to(context.transformer.params_dtype)


def run(module: nn.Module, section: GatedProjector, **inputs: Tensor) -> Tensor:
    """Called with the node's inputs by name; returns rows of all items."""
    made: Tensor = module(inputs["in"])
    return made
