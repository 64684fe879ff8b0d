"""`projector.mlp`: linear layers of our own. Legend: N feature rows, C tower width, H decoder width."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from components.context import BuildContext
from components.projector.mlp_declaration import Mlp

ACTIVATIONS = {
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": functional.relu,
    "silu": functional.silu,
}
NORM_EPS = 1e-6


class MlpProjector(nn.Module):
    """Linear layers `linear_1`, `linear_2`, …, and `norm` before them if there is one."""

    def __init__(self, section: Mlp) -> None:
        super().__init__()
        if section.norm == "layer":
            self.norm: nn.Module = nn.LayerNorm(section.in_dim, eps=NORM_EPS)
        elif section.norm == "rms":
            self.norm = nn.RMSNorm(section.in_dim, eps=NORM_EPS)
        self.activation = ACTIVATIONS[section.activation]
        self.depth = section.depth
        for number in range(section.depth):
            width = section.out_dim if number else section.in_dim
            self.add_module(f"linear_{number + 1}", nn.Linear(width, section.out_dim, bias=section.bias))

    def layer(self, number: int) -> nn.Module:
        """A linear layer, counted from 1."""
        return self.get_submodule(f"linear_{number}")

    def forward(self, features: Tensor) -> Tensor:
        """[..., C] to [..., H]."""
        if hasattr(self, "norm"):
            features = self.norm(features)
        features = self.layer(1)(features)
        for number in range(2, self.depth + 1):
            features = self.layer(number)(self.activation(features))
        return features


def build(section: Mlp, context: BuildContext) -> nn.Module:
    """The layers in `params_dtype`: matrices normal with variance 1 / inputs, so that rows keep their size."""
    projector = MlpProjector(section)
    for name, parameter in projector.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
    return projector.to(context.transformer.params_dtype)


def run(module: nn.Module, _section: Mlp, **inputs: Any) -> Tensor:
    """[N, C] to [N, H]."""
    projected: Tensor = module(inputs["in"])
    return projected
