"""A tensor to an input."""

from typing import ClassVar

from attrs import frozen

from composer.edges.edge import ANY, Edge


@frozen
class DataEdge(Edge):
    """Hands a tensor to an input unchanged: same type, same dimensions."""

    kind: ClassVar[str] = "data"
    reads: ClassVar[tuple[str, ...]] = (ANY,)
    writes: ClassVar[tuple[str, ...]] = (ANY,)

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """All dimensions, one by one."""
        return tuple((i, i) for i in range(min(source_rank, target_rank)))
