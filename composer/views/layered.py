"""Where boxes of a layered picture stand: few crossings, then short arrows.

The classic method (Sugiyama, Tagawa, Toda 1981): arrows that pass a layer take a slot of their own in it; slots are
ordered by the mean of their neighbours; positions then minimise the squared lengths, layer by layer.
"""

from collections.abc import Sequence

from attrs import define, field

_SWEEPS = 8
_MAX_COUNTED = 400  # links; crossings of larger pictures are not counted


@define(eq=False)
class Slot:
    """A box, or an arrow passing through, in one layer. `position` is where it begins."""

    size: float
    position: float = 0.0
    layer: int = 0
    rank: int = 0
    links: list["Link"] = field(factory=list, repr=False)

    def middle(self) -> float:
        """Where it has its middle."""
        return self.position + self.size / 2


@define(eq=False)
class Link:
    """A straight piece of an arrow between neighbouring layers; offsets count from the beginning of each slot."""

    start: Slot
    start_offset: float
    end: Slot
    end_offset: float

    def away_from(self, slot: Slot) -> tuple[Slot, float, float]:
        """The slot at the other end, the offset there, and the offset here."""
        if slot is self.start:
            return self.end, self.end_offset, self.start_offset
        return self.start, self.start_offset, self.end_offset


def arrange(layers: Sequence[list[Slot]], links: Sequence[Link], gap: float) -> None:
    """Order the slots within each layer (in place) and set their positions, from 0 on."""
    for link in links:
        link.start.links.append(link)
        link.end.links.append(link)
    _order(layers, links)
    for layer in layers:
        position = 0.0
        for slot in layer:
            slot.position = position
            position += slot.size + gap
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            _place(layer, gap)
    first = min((slot.position for layer in layers for slot in layer), default=0.0)
    for layer in layers:
        for slot in layer:
            slot.position -= first


def _order(layers: Sequence[list[Slot]], links: Sequence[Link]) -> None:
    for number, layer in enumerate(layers):
        for slot in layer:
            slot.layer = number
    _rank(layers)
    best, fewest = [list(layer) for layer in layers], _crossings(links)
    for sweep in range(_SWEEPS if len(links) <= _MAX_COUNTED else 2):
        if not fewest:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            means = {id(slot): _mean_rank(slot, down) for slot in layer}
            layer.sort(key=lambda slot: means[id(slot)])
            _rank([layer])
        count = _crossings(links)
        if count < fewest or len(links) > _MAX_COUNTED:
            best, fewest = [list(layer) for layer in layers], count
    for layer, ordered in zip(layers, best, strict=True):
        layer[:] = ordered
    _rank(layers)


def _rank(layers: Sequence[list[Slot]]) -> None:
    for layer in layers:
        for rank, slot in enumerate(layer):
            slot.rank = rank


def _mean_rank(slot: Slot, down: bool) -> float:
    others = [link.away_from(slot) for link in slot.links if (slot is link.end) == down]
    ranks = [other.rank + offset / (other.size or 1) for other, offset, _ in others]
    return sum(ranks) / len(ranks) if ranks else slot.rank + 0.5


def _crossings(links: Sequence[Link]) -> int:
    if len(links) > _MAX_COUNTED:
        return 1
    count = 0
    for number, link in enumerate(links):
        start, end = (link.start.rank, link.start_offset), (link.end.rank, link.end_offset)
        for other in links[:number]:
            if other.start.layer == link.start.layer:
                other_start, other_end = (other.start.rank, other.start_offset), (other.end.rank, other.end_offset)
                count += (start < other_start and end > other_end) or (start > other_start and end < other_end)
    return count


def _place(layer: list[Slot], gap: float) -> None:
    """Positions nearest to the wished ones that keep order and gaps: isotonic regression by pooling neighbours."""
    before = 0.0
    blocks: list[tuple[float, float, int]] = []  # sum of wishes, weight, number of slots
    for slot in layer:
        wish, weight = _wish(slot)
        block = ((wish - before) * weight, weight, 1)
        while blocks and blocks[-1][0] / blocks[-1][1] >= block[0] / block[1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
        before += slot.size + gap
    before, slots = 0.0, iter(layer)
    for total, weight, number in blocks:
        for _ in range(number):
            slot = next(slots)
            slot.position = total / weight + before
            before += slot.size + gap


def _wish(slot: Slot) -> tuple[float, float]:
    if not slot.links:
        return slot.position, 0.01
    others = [link.away_from(slot) for link in slot.links]
    return sum(other.position + there - here for other, there, here in others) / len(others), float(len(others))
