"""The position edge with grids: places in time, height and width, from placeholders and the grids of their items.

Computed on the host, stretch by stretch: a batch has few items, and towers bring their grids there anyway. Token ids,
padding and grids are copied to the host once a call, and the positions back.

Legend: B batch, S sequence, I items of one placeholder token.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from attrs import frozen
from torch import Tensor

from components.fusion.feature_counts import FeatureCountError
from composer.edges.position import Grids


@frozen(eq=False)
class GridItems:
    """The items of one placeholder token."""

    name: str
    token: int
    rule: Grids
    grids: Tensor | None
    """[I, 3] int64: frames, height and width in patches; None: there are none."""
    seconds: Tensor | None = None
    """[I] float32, between frames; None: 1."""

    def blocks(self) -> Iterator[Tensor]:
        """[3, rows] int64 places of each block of placeholders, from 0 on."""
        for number, (frames, height, width) in enumerate([] if self.grids is None else self.grids.tolist()):
            lines, columns = height // self.rule.merge, width // self.rule.merge
            if self.rule.frames == "apart":
                for _ in range(frames):
                    yield _block(torch.zeros(1, dtype=torch.int64), lines, columns)
                continue
            step = self.rule.time_step if self.seconds is None else self.rule.time_step * self.seconds[number].cpu()
            yield _block((torch.arange(frames // self.rule.merge_frames) * step).long(), lines, columns)


def _block(times: Tensor, lines: int, columns: int) -> Tensor:
    places = torch.meshgrid(times, torch.arange(lines), torch.arange(columns), indexing="ij")
    return torch.stack(places).flatten(1)


def grid_positions(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    cu_seqlens: Tensor | None,
    items: Sequence[GridItems],
    offset: int = 0,
) -> Tensor:
    """Positions of every token in time, height and width; padding does not count, and stands at 0.

    Text goes on by one in all three. A block of placeholders begins where the text before it ended; the text behind it
    begins at the block's start plus the longer side of its grid, whatever time it took. Every document begins anew.

    Args:
        input_ids: [B, S] int64.
        attention_mask: [B, S], not 0 at real tokens; None: all are.
        cu_seqlens: [documents + 1] int, packed documents of the only row; None: every row is one document.
        items: of each placeholder token, batch-major.
        offset: the position of the first token.

    Returns:
        [3, B, S] int64, on the device of `input_ids`.

    Raises:
        FeatureCountError: placeholders and grids differ; names the sample.

    Source: transformers 5.23, `get_rope_index` of models/qwen2_5_vl, models/qwen3_vl and models/ernie4_5_vl_moe.
    """
    ids = input_ids.cpu()
    valid = torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool().cpu()
    positions = torch.zeros(3, *ids.shape, dtype=torch.int64)
    waiting = [each.blocks() for each in items]
    for sample, first, end in _documents(ids, cu_seqlens):
        places = first + valid[sample, first:end].nonzero().flatten()
        parts, start = [torch.zeros(3, 0, dtype=torch.int64)], offset
        for kind, length in _stretches(ids[sample, places], items):
            if kind < 0:
                parts.append(torch.arange(start, start + length).expand(3, -1))
                start += length
                continue
            left = length
            while left:
                block = _next(waiting[kind], items[kind], sample, left)
                parts.append(block + start)
                start += 1 + int(block[1:].max())
                left -= block.shape[1]
        positions[:, sample, places] = torch.cat(parts, dim=1)
    for blocks, each in zip(waiting, items, strict=True):
        if next(blocks, None) is not None:
            raise FeatureCountError(f"there are grids of more {each.name} items than placeholders for them")
    return positions.to(input_ids.device)


def _documents(ids: Tensor, cu_seqlens: Tensor | None) -> list[tuple[int, int, int]]:
    """Row, first token and end of each document."""
    rows, length = ids.shape
    if cu_seqlens is None:
        return [(row, 0, length) for row in range(rows)]
    borders = [*cu_seqlens.tolist(), length]
    return [(0, first, end) for first, end in pairwise(borders) if first < end]


def _stretches(ids: Tensor, items: Sequence[GridItems]) -> list[tuple[int, int]]:
    """Maximal stretches of text (-1) or of placeholders of one kind (its number), and their lengths."""
    kinds = torch.full_like(ids, -1)
    for number, each in enumerate(items):
        kinds[ids == each.token] = number
    found, lengths = torch.unique_consecutive(kinds, return_counts=True)
    return list(zip(found.tolist(), lengths.tolist(), strict=True))


def _next(blocks: Iterator[Tensor], of: GridItems, sample: int, left: int) -> Tensor:
    block = next(blocks, None)
    if block is None:
        raise FeatureCountError(f"sample {sample}: {left} {of.name} placeholders, but no more {of.name} grids")
    if block.shape[1] > left or not block.shape[1]:
        raise FeatureCountError(
            f"sample {sample}: {left} {of.name} placeholders in a stretch, but the next grid fills {block.shape[1]}"
        )
    return block
