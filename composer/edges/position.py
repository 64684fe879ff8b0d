"""Where each token stands."""

from collections.abc import Iterator
from typing import ClassVar

from attrs import field, frozen

from composer.edges.edge import Edge, Site
from composer.finding import Finding
from composer.ranges import whole
from composer.suggestion import suggestion

RULES = ("arange",)


@frozen
class PositionEdge(Edge):
    """Makes position ids [batch, seq]; the decoder turns them into rotary frequencies per layer kind."""

    kind: ClassVar[str] = "position"
    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    writes: ClassVar[tuple[str, ...]] = ("rotary",)

    rule: str = field(
        default="arange",
        metadata={
            "description": "How positions are counted; arange: 0, 1, 2, ... along the sequence.",
            "enum": list(RULES),
        },
    )
    offset: int = field(default=0, metadata={"description": "The position of the first token.", "minimum": 0})

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """Batch and sequence."""
        return tuple((i, i) for i in range(min(source_rank, target_rank, 2)))

    def check(self, site: Site) -> Iterator[Finding]:
        """A known rule, from a position that there is."""
        yield from whole(f"{site.path}.offset", self.offset, 0)
        if self.rule not in RULES:
            yield Finding(f"{site.path}.rule", f"unknown position rule {self.rule!r}.{suggestion(self.rule, RULES)}")
