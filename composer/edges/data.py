"""A tensor to an input."""

from collections.abc import Iterator
from math import prod
from typing import ClassVar

from attrs import field, frozen

from composer.edges.edge import ANY, Edge, Site
from composer.edges.pack import Pack
from composer.finding import Finding


@frozen
class DataEdge(Edge):
    """Hands a tensor to an input: same type, same dimensions; features may be packed on the way."""

    kind: ClassVar[str] = "data"
    reads: ClassVar[tuple[str, ...]] = (ANY,)
    writes: ClassVar[tuple[str, ...]] = (ANY,)

    pack: tuple[Pack, ...] = field(
        default=(),
        converter=tuple,
        metadata={"description": "Operations on feature rows, one after the other."},
    )

    beside: bool = field(
        default=False,
        metadata={
            "description": "Its feature rows stand beside those of the data edges to the same input before it: one row "
            "of all, as wide as they are together."
        },
    )

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """All dimensions, one by one."""
        return tuple((i, i) for i in range(min(source_rank, target_rank)))

    def factor(self, dimension: int, rank: int) -> int:
        """Packing makes rows wider."""
        return prod(pack.width_factor for pack in self.pack) if dimension == rank - 1 else 1

    def check(self, site: Site) -> Iterator[Finding]:
        """Operations that there are."""
        for number, pack in enumerate(self.pack):
            yield from pack.check(f"{site.path}.pack[{number}]")
