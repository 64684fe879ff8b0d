"""Features into text embeddings."""

from collections.abc import Iterator
from typing import ClassVar

from attrs import field, frozen

from composer.edges.edge import Edge, Site, as_names
from composer.finding import Finding
from composer.suggestion import suggestion

MODES = ("replace", "add")


@frozen
class ScatterEdge(Edge):
    """Puts feature rows where the text holds placeholder tokens: [rows, hidden] into [batch, seq, hidden]."""

    kind: ClassVar[str] = "scatter"
    reads: ClassVar[tuple[str, ...]] = ("features",)
    writes: ClassVar[tuple[str, ...]] = ("embeddings",)
    overlays: ClassVar[bool] = True

    at: tuple[str, ...] = field(
        converter=as_names,
        metadata={
            "description": "The placeholder tokens, names of the spec's `tokens`: feature rows fill them in order."
        },
    )
    mode: str = field(
        default="replace",
        metadata={"description": "replace the text embedding of a placeholder, or add to it.", "enum": list(MODES)},
    )

    interrupted: bool = field(
        default=False,
        metadata={
            "description": "Text may stand between the rows of an item (a break after each line of a picture); an item "
            "still ends where a stretch of placeholders ends. false: an item fills consecutive placeholders."
        },
    )

    of: str | None = field(
        default=None,
        metadata={
            "description": "Whose rows are placed, where several inputs go through one tower: the name of an input; "
            "null: all rows."
        },
    )

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """The feature width."""
        return ((source_rank - 1, target_rank - 1),) if source_rank and target_rank else ()

    def check(self, site: Site) -> Iterator[Finding]:
        """Known placeholders, at least one, and a known mode."""
        if not self.at:
            yield Finding(f"{site.path}.at", "no token is named: without placeholders the features go nowhere.")
        yield from site.unknown_tokens(self.at, "at")
        for position, name in enumerate(self.at):
            if name in self.at[:position]:
                yield Finding(f"{site.path}.at[{position}]", f"{name} is named twice.")
        if self.mode not in MODES:
            yield Finding(f"{site.path}.mode", f"unknown mode {self.mode!r}.{suggestion(self.mode, MODES)}")
