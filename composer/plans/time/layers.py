"""Layers that cost the same: a decoder has many layers and few sorts of them, so plans multiply instead of adding."""

from attrs import frozen

from composer.plans.model import PlannedModel, Tally
from composer.plans.time.block import Gradients
from composer.plans.time.trained import of_layer, trained_shares


@frozen
class Sort:
    """Layers of one kind in which the same trains. own: what their backward pass makes on the first pipeline rank;
    carried: on a later one, where a gradient always reaches the first layer's input. tallies: of one such layer.
    """

    kind: str
    own: Gradients
    carried: Gradients
    tallies: tuple[Tally, ...]


@frozen
class Layers:
    """sorts: each once. before: how many of each sort stand before each layer, and, last, in all."""

    sorts: tuple[Sort, ...]
    before: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self.before) - 1

    def within(self, layers: range) -> list[int]:
        """How many of each sort a stretch of layers has."""
        return [stop - start for start, stop in zip(self.before[layers.start], self.before[layers.stop], strict=True)]

    @property
    def in_all(self) -> tuple[int, ...]:
        """How many of each sort there are."""
        return self.before[-1]

    @classmethod
    def of(cls, model: PlannedModel) -> "Layers":
        """All layers of a decoder."""
        sorts: dict[tuple[object, ...], Sort] = {}
        numbers, start = [], model.trains_from
        for layer, kind in enumerate(model.decoder.kinds):
            tallies = tuple(of_layer(model, layer))
            shares = trained_shares(tallies)
            flows = any(share for _, share in shares) or (start is not None and layer >= start)
            own, carried = Gradients(flows, shares), Gradients(flows or start is not None, shares)
            held = tuple((each.part, each.sharing, each.elements, each.trained, each.tensors) for each in tallies)
            key = (kind, own, carried, held)
            sorts.setdefault(key, Sort(kind, own, carried, tallies))
            numbers.append(list(sorts).index(key))
        before = [(0,) * len(sorts)]
        for number in numbers:
            before.append(tuple(count + (sort == number) for sort, count in enumerate(before[-1])))
        return cls(tuple(sorts.values()), tuple(before))
