"""The position edge: position ids, then one rotation per layer kind, all kinds side by side in one tensor.

One tensor, because Megatron-Core's blocks hand exactly one through pipeline stages and recomputation.
Legend: B batch, S sequence, D head width of a kind, R the sum of D/2 over layer kinds.
"""

import torch
from torch import Tensor


def inverse_frequencies(head_dim: int, theta: float, partial: float = 1.0) -> Tensor:
    """Angle per position of each pair of a head, first `partial` of the pairs; the others get 0 and stand still.

    Args:
        head_dim: D, even.
        theta: base of the geometric series; exponents run over the whole head.
        partial: share of the pairs that turn.

    Returns:
        [D/2] float32 on the CPU.

    Source: transformers 5.23 modeling_rope_utils.py, the default and the proportional initialisation.
    """
    # On the CPU and in this order, whatever the default device: the same bits as the oracle's table.
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float, device="cpu") / head_dim
    frequencies = 1.0 / (theta**exponents)
    frequencies[int(partial * head_dim // 2) :] = 0.0
    return frequencies


def position_ids_of(input_ids: Tensor, cu_seqlens: Tensor | None, offset: int) -> Tensor:
    """Index of each token in its document, plus `offset`.

    Args:
        input_ids: [B, S]; only its shape and device are read.
        cu_seqlens: [documents + 1] int, packed documents of the only row; None: every row is one document.

    Returns:
        [B, S] int64.
    """
    batch, length = input_ids.shape
    index = torch.arange(length, device=input_ids.device)
    if cu_seqlens is not None:
        borders = cu_seqlens.to(index)
        document = torch.bucketize(index, borders[1:], right=True)
        index = index - borders[document]
    return (index + offset).expand(batch, length)


def rotation(position_ids: Tensor, frequencies: Tensor, dtype: torch.dtype) -> Tensor:
    """Cosines and sines of every angle.

    Args:
        position_ids: [B, S] int64.
        frequencies: [R] float32, on the device of `position_ids`.

    Returns:
        [2, S, B, 1, R] of `dtype`; angles are computed in float32.
    """
    angles = position_ids.transpose(0, 1)[..., None, None].float() * frequencies
    return torch.stack((angles.cos(), angles.sin())).to(dtype)
