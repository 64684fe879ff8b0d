"""Ways to deal decoder layers out to pipeline ranks."""

from collections.abc import Iterator
from functools import cache

from attrs import frozen

from composer.plans.layout import Layout
from composer.plans.placement import PlacementError, place

Split = tuple[int | None, int | None, int]
"""Layers of the first rank, of the last (None: as many as elsewhere), virtual stages."""
EVEN: Split = (None, None, 1)


@frozen(cache_hash=True)
class Splits:
    """Some ways, of one number of layers and one pipeline."""

    ways: tuple[Split, ...]


@cache
def splits(num_layers: int, pp: int, virtual_stages: tuple[int, ...], *, grouped: bool) -> Splits:
    """All ways in which no rank but the first and the last has fewer layers than another.

    Args:
        num_layers: of the decoder.
        pp: pipeline ranks.
        virtual_stages: those that are wanted; empty: any.
        grouped: whether micro-batches come in groups as large as the pipeline, which virtual stages need.
    """
    found = [EVEN] if pp == 1 else list(_all(num_layers, pp))
    return Splits(
        tuple(
            (first, last, virtual)
            for first, last, virtual in found
            if (grouped or virtual == 1) and (not virtual_stages or virtual in virtual_stages)
        )
    )


def _all(num_layers: int, pp: int) -> Iterator[Split]:
    for first, last in _ends(num_layers, pp):
        for virtual in range(1, max(1, num_layers // pp) + 1):
            layout = Layout(pp=pp, virtual_stages=virtual, first_stage_layers=first, last_stage_layers=last)
            try:
                place(num_layers, layout)
            except PlacementError:
                continue
            yield first, last, virtual


def _ends(num_layers: int, pp: int) -> Iterator[tuple[int | None, int | None]]:
    if num_layers % pp == 0:
        yield None, None
    if pp == 2:
        yield from ((first, num_layers - first) for first in range(num_layers + 1) if first * 2 != num_layers)
        return
    for middle in range(1, num_layers):
        ends = num_layers - middle * (pp - 2)
        yield from (
            (first, ends - first)
            for first in range(middle + 1)
            if 0 <= ends - first <= middle and not first == ends - first == middle
        )
