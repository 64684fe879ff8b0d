"""Token ids to text embeddings."""

from collections.abc import Iterator
from typing import ClassVar

from attrs import field, frozen

from composer.edges.edge import Edge, Site, as_names
from composer.finding import Finding

SQRT_HIDDEN_SIZE = "sqrt_hidden_size"


@frozen
class EmbedEdge(Edge):
    """Looks token ids up in the decoder's embedding table: [batch, seq] to [batch, seq, hidden]."""

    kind: ClassVar[str] = "embed"
    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    writes: ClassVar[tuple[str, ...]] = ("embeddings",)

    scale: float | str = field(
        default=1.0,
        metadata={
            "description": "Factor on the embeddings: a number, or sqrt_hidden_size.",
            "examples": [1.0, SQRT_HIDDEN_SIZE],
        },
    )
    replace: tuple[str, ...] = field(
        default=(),
        converter=as_names,
        metadata={"description": "Tokens whose ids may lie outside the vocabulary: looked up as row `row` instead."},
    )
    row: int = field(
        default=0, metadata={"description": "The row of the table that stands in for `replace` tokens.", "minimum": 0}
    )

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """Batch and sequence."""
        return tuple((i, i) for i in range(min(source_rank, target_rank - 1)))

    def check(self, site: Site) -> Iterator[Finding]:
        """Scale is a number or the one word, tokens are known, the row exists."""
        if isinstance(self.scale, str) and self.scale != SQRT_HIDDEN_SIZE:
            yield Finding(f"{site.path}.scale", f"a number or {SQRT_HIDDEN_SIZE} is expected, not {self.scale!r}.")
        if self.row < 0:
            yield Finding(f"{site.path}.row", f"{self.row} is no row of a table: 0 or more is expected.")
        yield from site.unknown_tokens(self.replace, "replace")
