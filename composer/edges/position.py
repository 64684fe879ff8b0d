"""Where each token stands."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from attrs import field, fields, frozen

from composer.edges.edge import Edge, Site
from composer.finding import Finding
from composer.ranges import positive, whole
from composer.suggestion import suggestion

RULES = ("arange", "grids")
AXES = "axis"
"""First dimension of a rotary port that takes time, height and width."""


@frozen
class Grids:
    """The grids of one placeholder token's items, and how their places are counted."""

    source: str = field(
        metadata={
            "key": "in",
            "description": "The input that holds frames, height and width of every item, in patches.",
        }
    )
    merge: int = field(default=1, metadata={"description": "merge x merge patches of a frame fill one placeholder."})
    merge_frames: int = field(default=1, metadata={"description": "So many frames fill one placeholder together."})
    frames: Literal["together", "apart"] = field(
        default="together",
        metadata={
            "description": "together: an item is one block, and its frames follow each other in time. apart: every "
            "frame is a block of its own, with text before it (its time, say)."
        },
    )
    time_step: float = field(default=1.0, metadata={"description": "Positions from one frame to the next."})
    seconds_in: str | None = field(
        default=None,
        metadata={"description": "The input that holds seconds between frames of every item: a factor on time_step."},
    )

    @property
    def reads(self) -> tuple[tuple[str, str, str], ...]:
        """Key, name and type of the inputs it reads."""
        seconds = () if self.seconds_in is None else (("seconds_in", self.seconds_in, "seconds"),)
        return (("in", self.source, "grids"), *seconds)


@frozen
class PositionEdge(Edge):
    """Makes position ids [batch, seq]; the decoder turns them into rotary frequencies per layer kind."""

    kind: ClassVar[str] = "position"
    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    writes: ClassVar[tuple[str, ...]] = ("rotary",)

    rule: str = field(
        default="arange",
        metadata={
            "description": "How positions are counted; arange: 0, 1, 2, ... along the sequence. grids: in time, height "
            "and width, [3, batch, seq]: text counts on in all three, an item's tokens by their place in its grid, and "
            "text goes on behind the longer side of the grid.",
            "enum": list(RULES),
        },
    )
    offset: int = field(default=0, metadata={"description": "The position of the first token.", "minimum": 0})
    grids: dict[str, Grids] = field(
        factory=dict, metadata={"description": "With rule grids: the items by placeholder token."}
    )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs of the spec that it reads beside the tokens."""
        return tuple(name for grids in self.grids.values() for _, name, _ in grids.reads)

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """Batch and sequence, the last two of the end."""
        return tuple((i, target_rank - 2 + i) for i in range(min(source_rank, target_rank, 2)))

    def check(self, site: Site) -> Iterator[Finding]:
        """A known rule, from a position that there is; grids that there are."""
        yield from whole(f"{site.path}.offset", self.offset, 0)
        if self.rule not in RULES:
            yield Finding(f"{site.path}.rule", f"unknown position rule {self.rule!r}.{suggestion(self.rule, RULES)}")
            return
        yield from self._fits(site)
        for token, grids in self.grids.items():
            path = f"{site.path}.grids.{token}"
            if token not in site.tokens:
                yield Finding(path, f"unknown token {token!r}.{suggestion(token, site.tokens)}")
            for key, name, kind in grids.reads:
                yield from site.input_of(name, kind, f"{path}.{key}")
            yield from whole(f"{path}.merge", grids.merge)
            yield from whole(f"{path}.merge_frames", grids.merge_frames)
            yield from positive(f"{path}.time_step", grids.time_step)
            if grids.frames == "apart":
                yield from _one_by_one(grids, path)

    def _fits(self, site: Site) -> Iterator[Finding]:
        """As many axes as the decoder rotates by."""
        by_axes = site.target_shape is not None and site.target_shape[0] == AXES
        if self.rule == "grids" and not self.grids:
            yield Finding(f"{site.path}.rule", "no grids are named. Write grids: {image: {in: image_grid}}.")
        if self.rule == "arange" and self.grids:
            yield Finding(f"{site.path}.grids", "has no effect with rule arange. Set rule: grids.")
        elif self.rule == "arange" and by_axes:
            message = "layers rotate by time, height and width (rope.sections): one position a token is too little."
            yield Finding(f"{site.path}.rule", f"{message} Set rule: grids.")
        elif self.rule == "grids" and site.target_shape is not None and not by_axes:
            message = f"no layer kind of {self.target.owner} rotates by height and width. Give its rope sections."
            yield Finding(f"{site.path}.rule", message)


def _one_by_one(grids: Grids, path: str) -> Iterator[Finding]:
    """Frames apart stand at one time each, one patch deep."""
    for key in ("merge_frames", "time_step", "seconds_in"):
        if getattr(grids, key) != getattr(fields(Grids), key).default:
            yield Finding(f"{path}.{key}", "has no effect with frames apart ({0}).", (f"{path}.frames",))
