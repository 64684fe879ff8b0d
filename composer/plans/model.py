"""A model as plans see it: its inventory, its decoder's costs, what trains, and who may attend to whom."""

from functools import cached_property

from attrs import frozen

from composer.masks import Rule
from composer.plans.costs import DecoderCosts
from composer.plans.inventory import Inventory, Part


@frozen
class Tally:
    """Elements of parameters of one kind: how many there are, and how many train.

    sharing: `all`: every tensor-parallel rank holds them; `tensor`: split over those; `expert`: of experts, dealt out
    to expert-parallel ranks and split over `etp` ranks; `expert_whole`: of experts, dealt out, not split.
    """

    node: str
    layer: int | None
    part: Part
    sharing: str
    elements: int
    trained: int
    tensors: int
    matrices: int
    """Elements of tensors with two or more dimensions."""


@frozen(eq=False)
class PlannedModel:
    """What estimates read. trained: names of parameters that train; rules: mask rule of each layer kind; levels: the
    decoder layers after which a level of features is added.
    """

    inventory: Inventory
    decoder_node: str
    decoder: DecoderCosts
    rules: dict[str, Rule]
    trained: frozenset[str]
    levels: tuple[int, ...] = ()

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """Parameters summed by node, layer, part and sharing; made once."""
        groups: dict[tuple[str, int | None, Part, str], list[int]] = {}
        for parameter in self.inventory.parameters:
            if parameter.expert is not None:
                sharing = "expert_whole" if parameter.split is None else "expert"
            else:
                sharing = "all" if parameter.split is None else "tensor"
            key = (parameter.node, parameter.layer, parameter.part, sharing)
            sums = groups.setdefault(key, [0, 0, 0, 0])
            sums[0] += parameter.size
            sums[1] += parameter.size if parameter.name in self.trained else 0
            sums[2] += 1
            sums[3] += parameter.size if len(parameter.shape) > 1 else 0
        return tuple(Tally(*key, *sums) for key, sums in groups.items())

    @cached_property
    def trains_from(self) -> int | None:
        """First decoder layer whose input carries gradient: 0 if embeddings, towers or projectors train; None: none.

        On pipeline ranks after the first, activations always carry gradient: Megatron-Core's schedules send it back
        whether or not anything upstream trains.
        """
        first: int | None = None
        for tally in self.tallies:
            if not tally.trained:
                continue
            if tally.layer is None and tally.part != "head" and not self._is_final_norm(tally):
                return 0
            if tally.layer is not None:
                first = tally.layer + 1 if first is None else min(first, tally.layer + 1)
        return first

    def _is_final_norm(self, tally: Tally) -> bool:
        return tally.node == self.decoder_node and tally.part == "norms"
