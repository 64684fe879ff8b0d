"""Rotary position embedding, applied to heads from cosines and sines that the position edge computed.

Legend: S sequence, B batch, N heads, D head width, R all half-widths of all layer kinds side by side.
"""

import torch
from torch import Tensor


def rotate(heads: Tensor, rotation: Tensor, columns: slice) -> Tensor:
    """Turn each pair (i, i + D/2) of every head by its angle.

    Args:
        heads: [S, B, N, D], params dtype.
        rotation: [2, S, B, 1, R], cosines then sines, dtype of `heads`.
        columns: the D/2 columns of R that belong to this layer kind.

    Returns:
        [S, B, N, D], a new tensor.
    """
    cos, sin = rotation[0][..., columns], rotation[1][..., columns]
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
