"""The position edge: position ids, then one rotation per layer kind, all kinds side by side in one tensor.

One tensor, because Megatron-Core's blocks hand exactly one through pipeline stages and recomputation.
Legend: B batch, S sequence, A axes (time, height, width), R rotation columns: one for each pair of a head of each layer
kind.
"""

import torch
from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class RotationTable:
    """What turns positions into angles, column by column."""

    frequencies: Tensor
    """[R] float32, angle per position."""
    factors: Tensor | None = None
    """[R] float32, on cosines and sines; None: all are 1."""
    axes: Tensor | None = None
    """[R] int64, the axis whose position is meant; None: a token has one position."""

    def to(self, device: torch.device) -> "RotationTable":
        """The same table there."""
        factors, axes = (None if each is None else each.to(device) for each in (self.factors, self.axes))
        return RotationTable(self.frequencies.to(device), factors, axes)


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


def rotation(position_ids: Tensor, table: RotationTable, dtype: torch.dtype) -> Tensor:
    """Cosines and sines of every angle.

    Args:
        position_ids: [B, S] int64, or [A, B, S] if the table has axes; [B, S] then stands for all axes.
        table: on the device of `position_ids`.

    Returns:
        [2, S, B, 1, R] of `dtype`; angles are computed in float32.
    """
    if position_ids.ndim == 3:
        assert table.axes is not None, "positions of several axes, but every column has the same one"
        angles = position_ids[table.axes].permute(2, 1, 0)[:, :, None].float() * table.frequencies
    else:
        angles = position_ids.transpose(0, 1)[..., None, None].float() * table.frequencies
    turned = torch.stack((angles.cos(), angles.sin()))
    return (turned if table.factors is None else turned * table.factors).to(dtype)
