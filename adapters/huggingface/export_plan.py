"""Which rank gives which part of which tensor to an export, in an order that no layout changes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.rank_share import share_of
from adapters.huggingface.stored_layout import stored_map
from adapters.huggingface.stored_matrix import Matrix, Place
from adapters.huggingface.weight_plan import Slot, slots
from composer.graph import Graph


@frozen
class Offer:
    """What one rank has of a Hugging Face tensor."""

    name: str
    node: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    places: tuple[Place, ...]


@frozen
class Planned:
    """A Hugging Face tensor to write, and who gives its parts: (place, rank), by line, then by column."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    sources: tuple[tuple[Place, int], ...]

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def strips(self) -> Iterator[tuple[tuple[Place, int], ...]]:
        """Sources of the same lines, in order of lines: together they are whole lines."""
        for _, strip in groupby(self.sources, lambda source: (source[0].first, source[0].last)):
            yield tuple(strip)


Held = dict[str, dict[Place, Tensor]]
"""By Hugging Face name and place: a rank's own values, [lines, columns]."""


def offers(stages: Iterable[nn.Module], *, copies: bool = True) -> tuple[list[Offer], Held]:
    """What this rank may give.

    Args:
        stages: its pipeline stages.
        copies: also what an earlier data-parallel rank has.

    Raises:
        CheckpointError: the weight map and a model disagree.
    """
    found: list[Offer] = []
    held: Held = {}
    for model in stages:
        share = share_of(model)
        for name, slot in slots(model).items():
            speaks = copies or (share.speaks_for_experts if slot.of_experts else share.speaks)
            if speaks and name not in held:
                held[name] = dict(slot.places())
                found.append(_offer(name, slot, tuple(held[name])))
    return found, held


def _offer(name: str, slot: Slot, places: tuple[Place, ...]) -> Offer:
    return Offer(name, slot.composed.split(".")[0], slot.shape, slot.dtype, places)


def plan(graph: Graph, offered: Sequence[Sequence[Offer]]) -> list[Planned]:
    """Every tensor, in the order in which a single rank would write them; the first rank that has a part gives it.

    Args:
        graph: of the model.
        offered: by rank.

    Raises:
        CheckpointError: a tensor, or a part of one, is on no rank; or ranks disagree about it.
    """
    decoder = graph.decoder()
    found: dict[str, Planned] = {}
    order: dict[str, tuple[int, int]] = {}
    places = {name: number for number, name in enumerate(graph.nodes)}
    problems: list[str] = []
    for rank, offer in ((rank, offer) for rank, each in enumerate(offered) for offer in each):
        order.setdefault(offer.name, (places[offer.node], len(order)))
        before = found.get(offer.name, Planned(offer.name, offer.shape, offer.dtype, ()))
        if (before.shape, before.dtype) != (offer.shape, offer.dtype):
            problems.append(f"{offer.name} is {_seen(before)} on one rank and {_seen(offer)} on rank {rank}")
            continue
        new = dict.fromkeys(offer.places, rank) | dict(before.sources)
        found[offer.name] = evolve(before, sources=tuple(sorted(new.items())))
    names = [name for entry in stored_map(graph, ()) for name in entry.names]
    problems += [f"{name} is on no rank" for name in names if name not in found]
    problems += [problem for planned in found.values() for problem in _gaps(planned)]
    if problems:
        raise CheckpointError("weights of all ranks", problems)
    order |= {name: (places[decoder.name], number) for number, name in enumerate(names)}
    return sorted(found.values(), key=lambda planned: order[planned.name])


def _seen(tensor: Offer | Planned) -> str:
    return f"{list(tensor.shape)} {tensor.dtype}"


def _gaps(planned: Planned) -> list[str]:
    """Nothing, if the parts are the tensor, each number once."""
    matrix = Matrix.of(planned.shape)
    strips = list(planned.strips())
    lines = [(strip[0][0].first, strip[0][0].last) for strip in strips]
    columns = {tuple((place.left, place.right) for place, _ in strip) for strip in strips}
    if _tile(lines, matrix.lines) and all(_tile(each, matrix.width) for each in columns):
        return []
    return [f"{planned.name}: the parts that ranks have are not the whole of {list(planned.shape)}"]


def _tile(stretches: Sequence[tuple[int, int]], size: int) -> bool:
    ends = [(0, 0), *stretches, (size, size)]
    return all(end == start for (_, end), (start, _) in pairwise(ends))
