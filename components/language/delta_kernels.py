"""Which code runs the convolution and the gated delta rule: torch, or the kernels of flash-linear-attention on a GPU.

Legend: B rows, S tokens, G key heads, R value heads of each, K and V their widths.
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from components.language.delta_rule import causal_convolution, gated_delta_rule
from components.language.documents import Documents


class DeltaForm(Protocol):
    """Convolution, then the rule, over rows that may hold several documents."""

    @property
    def name(self) -> str:
        """Whose code it is."""
        ...

    def __call__(
        self, mixed: Tensor, weight: Tensor, decay: Tensor, strength: Tensor, sizes: "Sizes", packed: Documents | None
    ) -> Tensor:
        """Answers of every value head.

        Args:
            mixed: [B, S, G, 2K + R·V] query, key and values of each key head.
            weight: [G · (2K + R·V), 1, W] of the convolution.
            decay: [B, S, G, R] float32. strength: [B, S, G, R].
            sizes: K and V.
            packed: documents of a row (B = 1), each of which starts anew; None: a row is one document.

        Returns:
            [B, S, G, R, V], dtype of `mixed`.
        """
        ...


@frozen
class Sizes:
    """Width of a query or key head, and of a value head."""

    key: int
    value: int

    def split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys [..., G, K] and values [..., G, R, V] from [..., G, 2K + R·V]."""
        query, key, value = mixed.split([self.key, self.key, mixed.shape[-1] - 2 * self.key], dim=-1)
        return query, key, value.unflatten(-1, (-1, self.value))


@frozen
class TorchForm:
    """In torch, computed again in the backward pass: what chunks pass on to each other is not kept."""

    activation: Callable[[Tensor], Tensor]
    name: str = "torch"

    def __call__(
        self, mixed: Tensor, weight: Tensor, decay: Tensor, strength: Tensor, sizes: Sizes, packed: Documents | None
    ) -> Tensor:
        """See `DeltaForm`; documents become rows."""
        given = (mixed, weight, decay, strength, sizes, packed)
        found: Any = checkpoint(self._compute, *given, use_reentrant=False, preserve_rng_state=False)
        answer: Tensor = found
        return answer

    def _compute(
        self, mixed: Tensor, weight: Tensor, decay: Tensor, strength: Tensor, sizes: Sizes, packed: Documents | None
    ) -> Tensor:
        if packed is not None:
            mixed, decay, strength = (packed.apart(each) for each in (mixed, decay, strength))
        convolved = causal_convolution(mixed.flatten(2), weight, self.activation).view_as(mixed)
        answer = gated_delta_rule(*sizes.split(convolved), decay, strength)
        return answer if packed is None else packed.together(answer)


@frozen
class KernelForm:
    """By flash-linear-attention: half precision on a GPU."""

    convolve: Any
    rule: Any
    name: str = "flash-linear-attention"

    def __call__(
        self, mixed: Tensor, weight: Tensor, decay: Tensor, strength: Tensor, sizes: Sizes, packed: Documents | None
    ) -> Tensor:
        """See `DeltaForm`."""
        borders = None if packed is None else packed.borders
        flat = mixed.flatten(2).contiguous()
        convolved = self.convolve(flat, weight.squeeze(1), activation="silu", cu_seqlens=borders)[0]
        query, key, value = (each.contiguous() for each in sizes.split(convolved.view_as(mixed)))
        answer: Tensor = self.rule(
            query,
            key,
            value.flatten(2, 3),
            decay.flatten(2).contiguous(),
            strength.flatten(2).contiguous(),
            use_qk_l2norm_in_kernel=True,
            cu_seqlens=borders,
        )[0]
        return answer.view_as(value)


def delta_form(dtype: torch.dtype, activation: Callable[[Tensor], Tensor]) -> DeltaForm:
    """The kernels where they give the same: half precision on a GPU, with flash-linear-attention installed; else torch.

    In float32 those kernels multiply in TF32, and their convolution knows silu alone: neither is ever asked of them.
    Where they would refuse to go backward, torch computes, and a warning says why.
    """
    fits = torch.cuda.is_available() and dtype in (torch.bfloat16, torch.float16) and activation is functional.silu
    if not fits or importlib.util.find_spec("fla") is None:
        return TorchForm(activation)
    if (reason := refusal()) is not None:
        warnings.warn(f"gated delta nets are computed by torch: {reason}", stacklevel=2)
        return TorchForm(activation)
    from fla.modules.causal_conv1d import causal_conv1d  # type: ignore[import-not-found]
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule  # type: ignore[import-not-found]

    return KernelForm(causal_conv1d, chunk_gated_delta_rule)


def refusal() -> str | None:
    """Why the installed kernels would refuse a backward pass on this GPU; None if they would not.

    Source: flash-linear-attention 0.6 fla/ops/common/chunk_o.py, `chunk_bwd_dqkwg`. It finds out in the first backward
    pass; a model is better told when it is built.
    """
    from fla.ops.common import chunk_o  # type: ignore[import-not-found]

    def holds(flag: str) -> bool:
        return bool(getattr(chunk_o, flag, False))

    broken = holds("IS_NVIDIA_HOPPER") and holds("TRITON_ABOVE_3_4_0") and not holds("TRITON_ABOVE_3_7_1")
    if not broken or importlib.util.find_spec("tilelang") is not None:
        return None
    return "Triton 3.4.0 to 3.7.0 miscompiles flash-linear-attention on Hopper; install triton>=3.7.1, or tilelang"
