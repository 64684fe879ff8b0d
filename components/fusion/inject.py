"""The inject edge: levels of features into hidden states, between decoder layers.

Which feature row a token has is a number in the mask metadata, so every layer of every stage finds its rows, also when
it is computed again. Numbers count within a *chunk*: the tokens of one rank, where ranks share sequences.

Legend: S sequence, C chunks, L = S / C tokens of a chunk, B batch, H hidden, N feature rows of a chunk, K levels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NO_ROW = -1


def row_numbers(slots: Sequence[Tensor], chunks: int) -> Tensor:
    """The number of each token's feature row in its chunk.

    Args:
        slots: for each block of rows, [B, S] bool in the order of chunks, True at its placeholders; disjoint.
        chunks: how many ranks share a sequence.

    Returns:
        [B, S] int64: rows of the first block from 0 on, batch-major, then those of the next; -1 where there is none.

    Raises:
        ValueError: S is not a multiple of `chunks`.
    """
    batch, length = slots[0].shape
    if length % chunks:
        raise ValueError(f"sequences of {length} tokens cannot be dealt out to {chunks} ranks: pad them to a multiple")
    numbers = torch.full((chunks, batch * length // chunks), NO_ROW, device=slots[0].device)
    before = torch.zeros(chunks, 1, dtype=numbers.dtype, device=numbers.device)
    for each in slots:
        by_chunk = each.view(batch, chunks, -1).transpose(0, 1).flatten(1)
        numbers = torch.where(by_chunk, before + by_chunk.cumsum(-1) - 1, numbers)
        before = before + by_chunk.sum(-1, keepdim=True)
    return numbers.view(chunks, batch, -1).transpose(0, 1).reshape(batch, length)


def levels_at(levels: Tensor, slots: Tensor, positions: Tensor) -> Tensor:
    """The rows of some positions alone.

    Args:
        levels: [K, rows of all slots, H], batch-major.
        slots: [B, S] bool, True at placeholders.
        positions: [L] int64.

    Returns:
        [K, N, H], batch-major in the order of `positions`.
    """
    number = slots.flatten().cumsum(0).view_as(slots) - 1
    return levels[:, number[:, positions][slots[:, positions]]]


def add_level(hidden_states: Tensor, level: Tensor, rows: Tensor) -> Tensor:
    """Add the rows of one level to the tokens that have them.

    Args:
        hidden_states: [L, B, H] of one chunk.
        level: [N, H]; both carry gradient.
        rows: [B, L] int32, each number from 0 to N - 1 once, -1 elsewhere.

    Returns:
        [L, B, H], a new tensor.

    Source: transformers 5.23 models/qwen3_vl/modeling_qwen3_vl.py, Qwen3VLTextModel._deepstack_process.
    """
    of_token = rows.transpose(0, 1).flatten()
    # The token of each row by sorting: a mask would have to be counted on the host, once a layer.
    tokens = torch.where(of_token < 0, of_token.numel(), of_token).argsort()[: level.shape[0]]
    flat = hidden_states.flatten(0, 1)
    return flat.index_add(0, tokens, level.to(flat.dtype)).view_as(hidden_states)


def pack_stage(hidden_states: Tensor, levels: Tensor | None) -> Tensor:
    """What goes to the next pipeline stage in one tensor, where it needs levels too.

    Args:
        hidden_states: [L, B, H].
        levels: [K, N, H] that later stages add; None: the batch has no features.

    Returns:
        [L * B + K * N, 1, H].
    """
    rows = hidden_states.flatten(0, 1)
    later = rows[:0] if levels is None else levels.flatten(0, 1).to(rows.dtype)
    return torch.cat([rows, later]).unsqueeze(1)


def unpack_stage(packed: Tensor, tokens: tuple[int, int], levels: int) -> tuple[Tensor, Tensor | None]:
    """Undo `pack_stage`.

    Args:
        packed: [L * B + K * N, 1, H].
        tokens: (L, B).
        levels: K.

    Returns:
        Hidden states [L, B, H], and levels [K, N, H] or None.
    """
    rows = packed.squeeze(1)
    count = tokens[0] * tokens[1]
    later = rows[count:].unflatten(0, (levels, -1)) if rows.shape[0] > count else None
    return rows[:count].unflatten(0, tokens), later
