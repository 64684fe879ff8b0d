"""RMS norms. Legend: ... any leading dimensions, H the normalised width."""

from typing import Any

import torch
from megatron.core.models.backends import get_backend
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn


class ScaleFreeRMSNorm(nn.Module):
    """x / rms(x), computed in float32, with no parameter."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., H] to [..., H], same dtype."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).type_as(x)


class RMSNorm(nn.Module):
    """x / rms(x) · weight, computed in float32.

    Marks its weight for Megatron-Core: under sequence parallelism each rank sees a part of the sequence, so the
    weight's gradient is summed over tensor-parallel ranks.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """[..., H] to [..., H], same dtype."""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (normed * self.weight.float()).type_as(x)


def rms_norm(config: TransformerConfig, hidden_size: int, eps: float | None = None, **_: Any) -> nn.Module:
    """The RMS norm of the chosen implementation: ours, or Transformer Engine's fused one."""
    eps = config.layernorm_epsilon if eps is None else eps
    if config.transformer_impl == "local":
        return RMSNorm(config, hidden_size, eps)
    fused: Any = get_backend(config.transformer_impl).layer_norm(rms_norm=True)
    made: nn.Module = fused(config=config, hidden_size=hidden_size, eps=eps)
    return made
