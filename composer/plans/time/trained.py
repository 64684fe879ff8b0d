"""Which parameters of a rank train: how many elements are accumulated, sent and stepped, and who has the same ones."""

from collections.abc import Iterable

from attrs import frozen

from composer.plans.layout import Layout
from composer.plans.model import PlannedModel, Tally

type Shares = tuple[tuple[str, float], ...]


@frozen
class Trained:
    """Trained elements on one rank: outside of experts, and of experts. tensors: how many parameters they are."""

    dense: float = 0.0
    expert: float = 0.0
    tensors: float = 0.0

    def __add__(self, other: "Trained") -> "Trained":
        """Both."""
        return Trained(self.dense + other.dense, self.expert + other.expert, self.tensors + other.tensors)

    def __mul__(self, times: float) -> "Trained":
        """So often."""
        return Trained(self.dense * times, self.expert * times, self.tensors * times)

    @property
    def elements(self) -> float:
        """All of them."""
        return self.dense + self.expert


def trained_on_rank(tallies: Iterable[Tally], layout: Layout) -> Trained:
    """Of some parameters, those that train on one rank."""
    dense = expert = tensors = 0.0
    for tally in tallies:
        share = tally.trained / tally.elements if tally.elements else 0.0
        if tally.sharing == "expert":
            expert += tally.trained / (layout.ep * layout.etp)
            tensors += tally.tensors * share / layout.ep
        elif tally.sharing == "expert_whole":
            expert += tally.trained / layout.ep
            tensors += tally.tensors * share / layout.ep
        else:
            dense += tally.trained / (layout.tp if tally.sharing == "tensor" else 1)
            tensors += tally.tensors * share
    return Trained(dense, expert, tensors)


def trained_shares(tallies: Iterable[Tally]) -> Shares:
    """Share of the elements that train, for each part of some parameters."""
    sums: dict[str, list[float]] = {}
    for tally in tallies:
        both = sums.setdefault(tally.part, [0.0, 0.0])
        both[0] += tally.trained
        both[1] += tally.elements
    return tuple((part, trained / elements if elements else 0.0) for part, (trained, elements) in sorted(sums.items()))


def of_layer(model: PlannedModel, layer: int) -> list[Tally]:
    """Parameters of one decoder layer."""
    return [tally for tally in model.tallies if tally.layer == layer]


def of_ends(model: PlannedModel) -> tuple[list[Tally], list[Tally]]:
    """Parameters before the first layer (embeddings, towers, projectors) and behind the last (final norm, head)."""
    outside = [tally for tally in model.tallies if tally.layer is None]
    last = [t for t in outside if t.part == "head" or (t.node == model.decoder_node and t.part == "norms")]
    return [tally for tally in outside if tally not in last], last
