"""Features into hidden states, between decoder layers."""

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

from attrs import field, frozen

from composer.edges.edge import Edge, Site, as_names
from composer.finding import Finding


def _as_numbers(value: "tuple[int, ...] | list[int] | None") -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


@frozen
class InjectEdge(Edge):
    """Adds levels of features to hidden states, one level after each of some decoder layers, at placeholder tokens.

    Its rows go where those of the scatter edge with the same `at` went.
    """

    kind: ClassVar[str] = "inject"
    reads: ClassVar[tuple[str, ...]] = ("levels",)
    writes: ClassVar[tuple[str, ...]] = ("hidden",)
    overlays: ClassVar[bool] = True

    at: tuple[str, ...] = field(
        converter=as_names,
        metadata={"description": "The placeholder tokens, as in the scatter edge whose features stand there."},
    )
    after: tuple[int, ...] | None = field(
        default=None,
        converter=_as_numbers,
        metadata={
            "description": "The decoder layer after which each level is added, ascending from 0; null: level i after "
            "layer i."
        },
    )

    of: str | None = field(
        default=None,
        metadata={
            "description": "Whose levels are added, where several inputs go through one tower: the name of an input; "
            "null: all rows."
        },
    )

    def layers(self, levels: int) -> tuple[int, ...]:
        """The decoder layers after which the levels are added."""
        return tuple(range(levels)) if self.after is None else self.after

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """The feature width."""
        return ((source_rank - 1, target_rank - 1),) if source_rank and target_rank else ()

    def check(self, site: Site) -> Iterator[Finding]:
        """Known placeholders, at least one; a layer for every level, and layers that there are."""
        if not self.at:
            yield Finding(f"{site.path}.at", "no token is named: without placeholders the features go nowhere.")
        yield from site.unknown_tokens(self.at, "at")
        levels, layers = (shape[0] if shape else None for shape in (site.source_shape, site.target_shape))
        if isinstance(levels, int) and isinstance(layers, int):  # else an end is of another type, which is said apart
            yield from self._after(site, levels, layers)

    def _after(self, site: Site, levels: int, layers: int) -> Iterator[Finding]:
        if self.after is None:
            if levels > layers:
                message = (
                    f"{self.source} has {levels} levels, and {self.target.owner} {layers} layers to add them after."
                )
                yield Finding(f"{site.path}.from", message)
            return
        if len(self.after) != levels:
            message = f"names {len(self.after)} layers, but {self.source} has {levels} levels."
            yield Finding(f"{site.path}.after", message)
        for number, layer in enumerate(self.after):
            if not 0 <= layer < layers:
                message = f"{self.target.owner} has no layer {layer}: they are 0 to {layers - 1}."
                yield Finding(f"{site.path}.after[{number}]", message)
        if any(second <= first for first, second in pairwise(self.after)):
            yield Finding(f"{site.path}.after", "layers are named in ascending order, each once.")
