"""A vocabulary that grows: the tables of a decoder with more rows than those of the checkpoint it starts from.

Legend: V rows of the stored table, W rows of the model's, H hidden.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from attrs import frozen
from torch import Tensor

from adapters.huggingface.checkpoint import RowReader, Stored
from adapters.huggingface.stored_matrix import Place
from adapters.huggingface.weight_plan import Slot
from composer.graph import Graph

TABLES = ("embedding.word_embeddings.weight", "output_layer.weight")
BLOCK_BYTES = 4 * 2**20


@frozen
class Growth:
    """A table that keeps `old` rows and gets new ones up to `rows`."""

    table: str
    old: int
    rows: int


def growth_of(graph: Graph, slot: Slot, stored: Stored) -> Growth | None:
    """How a table grows; None if it does not, or must not: the spec adds tokens (`hf.compose.new_tokens`) or not."""
    grows = graph.hf is not None and graph.hf.compose is not None and bool(graph.hf.compose.new_tokens)
    (rows, *width), (old, *stored_width) = (*slot.shape, 0), (*stored.shape, 0)
    if not (grows and slot.composed.endswith(TABLES) and width == stored_width and old < rows):
        return None
    return Growth(slot.composed, old, rows)


def fill_grown(reader: RowReader, stored: Stored, slot: Slot) -> None:
    """Fill what a rank holds of a grown table [W, H] from the stored one [V, H]: row V and all after it are the mean.

    The mean of all stored rows is taken in float64, whatever part of the table a rank holds.
    """
    rows, mean = stored.shape[0], None
    for place, view in slot.places():
        kept = max(min(place.last, rows) - place.first, 0)
        for first, last in _blocks(place.first, place.first + kept, stored, place):
            block = reader.rows(stored, (slice(first, last), slice(place.left, place.right)))
            view[first - place.first : last - place.first].copy_(block.to(view.dtype))
        if kept < view.shape[0]:
            mean = mean_row(reader, stored) if mean is None else mean
            view[kept:] = mean[place.left : place.right].to(view.dtype)


def mean_row(reader: RowReader, stored: Stored) -> Tensor:
    """[H] float64 mean of all rows of a stored table [V, H]."""
    rows, width = stored.shape
    total = torch.zeros(width, dtype=torch.float64)
    for first, last in _blocks(0, rows, stored, Place(0, rows, 0, width)):
        total += reader.rows(stored, (slice(first, last), slice(0, width))).double().sum(0)
    return total / rows


def _blocks(first: int, last: int, stored: Stored, place: Place) -> Iterator[tuple[int, int]]:
    """A few MiB of whole lines at a time."""
    step = max(1, BLOCK_BYTES // (8 * max(1, place.right - place.left)))
    return pairwise([*range(first, last, step), last]) if first < last else iter(())
