"""RMS norms. Legend: ... any leading dimensions, H the normalised width."""

from typing import Any

import torch
from megatron.core.models.backends import get_backend
from megatron.core.tensor_parallel.mappings import copy_to_tensor_model_parallel_region
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn import functional


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
    """x / rms(x) · weight, or · (1 + weight) where the configuration says zero-centered; computed in float32.

    Marks its weight for Megatron-Core: under sequence parallelism each rank sees a part of the sequence, so the
    weight's gradient is summed over tensor-parallel ranks when gradients are finalised. Heads are a part each without
    sequence parallelism too, which Megatron-Core knows only of its own norms by name: those are summed here, in the
    backward pass.
    """

    def __init__(
        self, config: TransformerConfig, hidden_size: int, eps: float, heads_of: ProcessGroup | None = None
    ) -> None:
        super().__init__()
        self.eps = eps
        self.sum_over = heads_of if heads_of is not None and is_partial(config, heads_of) else None
        # What is added to the weight is added in float32: near one, half precision has no room for small weights.
        self.offset = 1.0 if config.layernorm_zero_centered_gamma else 0.0
        start = torch.full((hidden_size,), 1.0 - self.offset, dtype=config.params_dtype)
        self.weight = nn.Parameter(start)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """[..., H] to [..., H], same dtype."""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        weight: Tensor = self.weight
        if self.sum_over is not None:
            weight = copy_to_tensor_model_parallel_region(weight, group=self.sum_over)
        factor = weight.float() + self.offset if self.offset else weight.float()
        return (normed * factor).type_as(x)


class GatedRMSNorm(RMSNorm):
    """RMSNorm(x) · silu(gate), of heads; its weight counts from zero, whatever the other norms' do."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float, heads_of: ProcessGroup) -> None:
        super().__init__(config, hidden_size, eps, heads_of)
        self.offset = 0.0
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:  # type: ignore[override]
        """[..., H] twice to [..., H], dtype of `x`."""
        return (super().forward(x.float()) * functional.silu(gate.float())).type_as(x)


def is_partial(config: TransformerConfig, heads_of: ProcessGroup) -> bool:
    """Whether a head norm's gradient is one rank's part that nobody sums later."""
    return heads_of.size() > 1 and not config.sequence_parallel


def rms_norm(
    config: TransformerConfig,
    hidden_size: int,
    eps: float | None = None,
    heads_of: ProcessGroup | None = None,
    **_: Any,
) -> nn.Module:
    """The RMS norm of the chosen implementation: ours, or Transformer Engine's fused one.

    Args:
        config: of the run.
        hidden_size: H.
        eps: None: the configuration's.
        heads_of: the tensor-parallel ranks that share the heads this norm is applied to; None: it sees whole tokens.
    """
    eps = config.layernorm_epsilon if eps is None else eps
    if config.transformer_impl == "local" or (heads_of is not None and is_partial(config, heads_of)):
        return RMSNorm(config, hidden_size, eps, heads_of)
    fused: Any = get_backend(config.transformer_impl).layer_norm(rms_norm=True)
    made: nn.Module = fused(config=config, hidden_size=hidden_size, eps=eps)
    return made
