"""Pack operations of data edges: rows of items dropped, or put together. Legend: N feature rows, I items, C width.

Items lie one after the other in the rows, and may differ in how many they have; nothing is looped over.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from composer.edges.pack import Pack


class PackError(ValueError):
    """Rows that an operation cannot work on; names the item."""


def pack(features: Tensor, item_rows: Tensor, operations: Iterable[Pack]) -> tuple[Tensor, Tensor]:
    """Apply operations in order.

    Args:
        features: [N, C]; carries gradient.
        item_rows: [I] int64, rows of each item, N in all.
        operations: of a checked data edge.

    Returns:
        Features and item_rows behind the last operation.

    Raises:
        PackError: rows and item_rows differ in number; see each operation.
    """
    counted = int(item_rows.sum())
    if counted != features.shape[0]:
        raise PackError(f"the tower made {features.shape[0]} rows, by item_rows {counted}: they do not fit")
    for operation in operations:
        if operation.drop_first is not None:
            features, item_rows = drop_first(features, item_rows, operation.drop_first)
        else:
            features, item_rows = pixel_shuffle(features, item_rows, operation.block)
    return features, item_rows


def drop_first(features: Tensor, item_rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Leave out the first `count` rows of every item.

    Returns:
        [N - I * count, C], and the rows of each item.

    Raises:
        PackError: an item has fewer rows.
    """
    for item, rows in enumerate(item_rows.tolist()):
        if rows < count:
            raise PackError(f"item {item} has {rows} feature rows, of which {count} are to be dropped")
    kept = item_rows - count
    row = torch.arange(features.shape[0] - count * item_rows.numel(), device=features.device)
    item = torch.bucketize(row, kept.cumsum(0), right=True)
    return features[row + (item + 1) * count], kept


def pixel_shuffle(features: Tensor, item_rows: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Make one row of each `block` x `block` rows of an item's square grid.

    Returns:
        [N / block**2, C * block**2]: grid line by line; in a row, the block's rows line by line. And rows of each item.

    Raises:
        PackError: an item's rows are no square grid, or one that blocks do not fill.

    Source: transformers 5.23 models/internvl/modeling_internvl.py, InternVLModel.pixel_shuffle.
    """
    sides = item_rows.double().sqrt().round().long()
    for item, (rows, side) in enumerate(zip(item_rows.tolist(), sides.tolist(), strict=True)):
        if side**2 != rows or side % block:
            raise PackError(f"item {item} has {rows} feature rows: no square grid of {block} x {block} blocks")
    made = item_rows // block**2
    row = torch.arange(features.shape[0] // block**2, device=features.device)
    item = torch.bucketize(row, made.cumsum(0), right=True)
    within = row - (made.cumsum(0) - made)[item]
    side = sides[item]
    line, column = within // (side // block), within % (side // block)
    inside = torch.arange(block, device=features.device)
    lines = (line * block)[:, None, None] + inside[None, :, None]
    columns = (column * block)[:, None, None] + inside[None, None, :]
    first = (item_rows.cumsum(0) - item_rows)[item]
    source = first[:, None, None] + lines * side[:, None, None] + columns
    return features[source.flatten(1)].flatten(1), made
