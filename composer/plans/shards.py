"""Which parameters a rank holds, and of what shapes: from the whole model's inventory and a layout, without torch.

Megatron-Core's rules: decoder layers stand where `placement` says; towers, projectors and embeddings on the first
stage; the final norm and the output layer on the last, which holds a copy of the embedding table where the two are
tied. Tensor-parallel ranks hold an equal part of what is split; experts are dealt out in order to expert-parallel
ranks, and each is split over `etp` ranks.
"""

from collections import defaultdict
from collections.abc import Iterator
from math import prod

from attrs import frozen

from composer.plans.inventory import Inventory, Parameter
from composer.plans.layout import Layout
from composer.plans.placement import Chunk, place


class ShardError(ValueError):
    """A tensor or the experts cannot be dealt out evenly; says which and to how many ranks."""


@frozen(eq=False)
class Shard:
    """What one pipeline stage of a rank holds. shapes: on this rank, by the names of the inventory."""

    chunk: Chunk
    shapes: dict[str, tuple[int, ...]]

    @property
    def elements(self) -> int:
        """Of all its parameters."""
        return sum(map(prod, self.shapes.values()))


@frozen
class RankKind:
    """Ranks that hold alike: those of some pipeline ranks, with the same experts. The first of them stands for all.

    pipeline_ranks: with tensors of the same shapes, in other layers. expert_rank: among expert-parallel ranks.
    """

    pipeline_ranks: tuple[int, ...]
    expert_rank: int

    def first_rank(self, gpus: int, layout: Layout) -> int:
        """The lowest rank of the job of this kind: stages are `gpus / pp` ranks apart, experts `etp`."""
        return self.pipeline_ranks[0] * (gpus // layout.pp) + self.expert_rank * layout.etp


def shard(inventory: Inventory, layout: Layout, pipeline_rank: int, expert_rank: int = 0) -> tuple[Shard, ...]:
    """What one rank holds, one entry for each of its virtual stages.

    Args:
        inventory: of the whole model.
        layout: of the job.
        pipeline_rank: of the rank.
        expert_rank: its number among expert-parallel ranks. Tensor-parallel ranks hold alike.

    Raises:
        PlacementError: the layers cannot be dealt out.
        ShardError: a tensor cannot be split, or the experts cannot be dealt out.
    """
    own = _own_experts(inventory, layout, expert_rank)
    found = []
    for chunk in place(_num_layers(inventory), layout):
        if chunk.rank == pipeline_rank:
            held = [each for each in _of_chunk(inventory, chunk) if each.expert is None or each.expert in own]
            found.append(Shard(chunk, {each.name: _local_shape(each, layout) for each in held}))
    return tuple(found)


def rank_kinds(inventory: Inventory, layout: Layout) -> tuple[RankKind, ...]:
    """Kinds of ranks that differ in which tensors they hold, or of what shapes, or in which experts: first and last.

    Raises:
        PlacementError: the layers cannot be dealt out.
    """
    layers: dict[int, set[tuple[str, tuple[int, ...]]]] = defaultdict(set)
    for each in inventory.parameters:
        if each.layer is not None and not each.expert:
            layers[each.layer].add((each.name.replace(f".{each.layer}.", ".*.", 1), each.shape))
    ranks: dict[tuple[object, ...], list[int]] = defaultdict(list)
    chunks = place(_num_layers(inventory), layout)
    for rank in range(layout.pp):
        own = [chunk for chunk in chunks if chunk.rank == rank]
        kind = tuple((c.first, c.last, tuple(frozenset(layers[layer]) for layer in c.layers)) for c in own)
        ranks[kind].append(rank)
    experts = sorted({0, layout.ep - 1})
    return tuple(RankKind(tuple(alike), expert) for alike in ranks.values() for expert in experts)


def _num_layers(inventory: Inventory) -> int:
    return 1 + max(each.layer for each in inventory.parameters if each.layer is not None)


def _own_experts(inventory: Inventory, layout: Layout, expert_rank: int) -> range:
    count = 1 + max((each.expert for each in inventory.parameters if each.expert is not None), default=-1)
    if count % layout.ep:
        raise ShardError(f"{count} experts cannot be dealt out evenly to {layout.ep} expert-parallel ranks")
    each = count // layout.ep
    return range(expert_rank * each, (expert_rank + 1) * each)


def _of_chunk(inventory: Inventory, chunk: Chunk) -> Iterator[Parameter]:
    decoder = next(each.node for each in inventory.parameters if each.layer is not None)
    for each in inventory.parameters:
        if each.layer is not None:
            here = each.layer in chunk.layers
        elif each.node != decoder:
            here = chunk.first
        elif each.part == "embeddings":
            here = chunk.first or (chunk.last and inventory.tied)
        else:
            here = chunk.last
        if here:
            yield each


def _local_shape(parameter: Parameter, layout: Layout) -> tuple[int, ...]:
    if parameter.split is None:
        return parameter.shape
    parts = layout.tp if parameter.expert is None else layout.etp
    whole = parameter.shape[parameter.split]
    if whole % parts:
        raise ShardError(
            f"{parameter.name} {list(parameter.shape)}: dimension {parameter.split} cannot be split over {parts} ranks"
        )
    return (*parameter.shape[: parameter.split], whole // parts, *parameter.shape[parameter.split + 1 :])
