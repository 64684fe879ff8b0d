"""One parameter in two places."""

from typing import ClassVar

from attrs import frozen

from composer.edges.edge import Edge


@frozen
class ShareEdge(Edge):
    """Makes two weights one parameter (tied embeddings): from the owner, to the port that uses it too."""

    kind: ClassVar[str] = "share"
    reads: ClassVar[tuple[str, ...]] = ("weight",)
    writes: ClassVar[tuple[str, ...]] = ("weight",)
    orders: ClassVar[bool] = False

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """All dimensions, one by one."""
        return tuple((i, i) for i in range(min(source_rank, target_rank)))
