"""Rotary position embedding, applied to heads from cosines and sines that the position edge computed.

Legend: S sequence, B batch, N heads, D head width, W how many of its columns rotate, R pairs of all layer kinds side by
side.
"""

import torch
from torch import Tensor

from components.language.rotation_columns import Columns


def rotate(heads: Tensor, rotation: Tensor, columns: Columns | None) -> Tensor:
    """Turn each pair among the first W columns of every head by its angle.

    Args:
        heads: [S, B, N, D], params dtype.
        rotation: [2, S, B, 1, R], cosines then sines, dtype of `heads`.
        columns: the W/2 columns of R that belong to this layer kind, and which two columns of a head are a pair;
            None: nothing turns.

    Returns:
        [S, B, N, D], a new tensor; `heads` itself if nothing turns.
    """
    if columns is None:
        return heads
    cos, sin = rotation[0][..., columns.start : columns.stop], rotation[1][..., columns.start : columns.stop]
    turning, rest = heads[..., : columns.width], heads[..., columns.width :]
    if columns.pairs == "adjacent":
        first, second = turning[..., 0::2], turning[..., 1::2]
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1).flatten(-2)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned
    first, second = turning.chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat((*turned, rest) if rest.shape[-1] else turned, dim=-1)
