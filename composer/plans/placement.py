"""Which decoder layers stand on which pipeline rank; as Megatron-Core places them.

The first rank may have no decoder layer (it embeds and encodes), nor the last (it makes logits).
"""

from functools import cache

from attrs import frozen

from composer.plans.layout import Layout


@frozen
class Chunk:
    """A pipeline stage of a rank, in the order of the model. layers: indices over the whole decoder."""

    rank: int
    virtual: int
    layers: range
    first: bool
    """Embeds, and holds towers and projectors."""
    last: bool
    """Holds final norm and output layer."""


class PlacementError(ValueError):
    """The layers cannot be dealt out this way; says why."""


@cache
def place(num_layers: int, layout: Layout) -> tuple[Chunk, ...]:
    """All stages, in the order in which a token passes them.

    Raises:
        PlacementError: Megatron-Core would refuse.
    """
    pp, virtual = layout.pp, layout.virtual_stages
    per_rank = _layers_of_ranks(num_layers, layout)
    for rank, count in enumerate(per_rank):
        if count % virtual:
            raise PlacementError(f"{count} layers of pipeline rank {rank} are no multiple of {virtual} virtual stages")
        if count == 0 and (virtual > 1 or 0 < rank < layout.pp - 1):
            raise PlacementError(f"pipeline rank {rank} would have a stage with nothing to do")
    chunks: list[Chunk] = []
    start = 0
    for turn in range(virtual):
        for rank, count in enumerate(per_rank):
            stop = start + count // virtual
            first, last = not chunks, turn == virtual - 1 and rank == pp - 1
            chunks.append(Chunk(rank, turn, range(start, stop), first, last))
            start = stop
    return tuple(chunks)


def _layers_of_ranks(num_layers: int, layout: Layout) -> list[int]:
    fixed: dict[int, int] = {}
    if layout.first_stage_layers is not None:
        fixed[0] = layout.first_stage_layers
    if layout.last_stage_layers is not None:
        fixed[layout.pp - 1] = layout.last_stage_layers
    others = layout.pp - len(fixed)
    left = num_layers - sum(fixed.values())
    if (others == 0 and left) or left < 0:
        raise PlacementError(f"first and last stage hold {sum(fixed.values())} of {num_layers} layers")
    if others and left % others:
        raise PlacementError(f"{left} layers cannot be dealt out evenly to {others} pipeline ranks")
    each = left // others if others else 0
    return [fixed.get(rank, each) for rank in range(layout.pp)]
