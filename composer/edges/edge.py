"""What every edge kind has: two ends, the port types it joins, and its static check."""

from collections.abc import Iterator
from typing import ClassVar, Self

from attrs import field, frozen

from composer.finding import Finding
from composer.suggestion import suggestion

ANY = "any"


@frozen
class Ref:
    """An end of an edge: `vision_tower.pixel_values`, or a name alone.

    A name alone is an input of the spec, or a node's port `out` (where edges start) or `in` (where they end).
    """

    owner: str
    port: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split at the first dot."""
        owner, _, port = text.partition(".")
        return cls(owner, port or None)

    def __str__(self) -> str:
        return self.owner if self.port is None else f"{self.owner}.{self.port}"


def as_ref(value: "Ref | str") -> Ref:
    """A reference from its text, or itself."""
    return Ref.parse(value) if isinstance(value, str) else value


def as_names(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """A tuple of names; one name alone is not taken apart into letters."""
    return (value,) if isinstance(value, str) else tuple(value)


@frozen
class Site:
    """What an edge's own check may know of the graph around it.

    `path` is the edge's (`edges[3]`), `tokens` the spec's token ids by name, `layer_kinds` those of the node it ends
    at, None if that node has no layer kinds; `fixed_rules` the mask rule of those kinds that can keep only one;
    `source_shape` and `target_shape` the ports' at its ends, None if unknown; `inputs` the types of the spec's inputs
    by name.
    """

    path: str
    tokens: dict[str, int]
    layer_kinds: tuple[str, ...] | None = None
    fixed_rules: dict[str, str] = field(factory=dict)
    source_shape: tuple[str | int, ...] | None = None
    target_shape: tuple[str | int, ...] | None = None
    inputs: dict[str, str] = field(factory=dict)

    def unknown_tokens(self, names: tuple[str, ...], key: str) -> Iterator[Finding]:
        """A finding for each name that is no token of the spec, at `key[i]`."""
        for position, name in enumerate(names):
            if name not in self.tokens:
                hint = suggestion(name, self.tokens)
                yield Finding(f"{self.path}.{key}[{position}]", f"unknown token {name!r}.{hint}")

    def input_of(self, name: str, kind: str, path: str) -> Iterator[Finding]:
        """A finding if there is no input of this name and type."""
        if name not in self.inputs:
            yield Finding(path, f"no input {name!r}.{suggestion(name, self.inputs)}")
        elif self.inputs[name] not in (kind, ANY):
            yield Finding(path, f"{name} is {self.inputs[name]} ({{0}}), not {kind}.", (f"inputs.{name}",))


@frozen
class Edge:
    """A typed connection. Subclasses say which port types they join and check what only they know."""

    kind: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]  # port types it may start at
    writes: ClassVar[tuple[str, ...]]  # port types it may end at
    overlays: ClassVar[bool] = False  # changes what another edge wrote, instead of being the one writer
    orders: ClassVar[bool] = True  # its end runs after its start

    source: Ref = field(
        converter=as_ref,
        metadata={
            "key": "from",
            "description": "Where it starts: an input of the spec, node.output, or a node (its output `out`).",
        },
    )
    target: Ref = field(
        converter=as_ref,
        metadata={"key": "to", "description": "Where it ends: node.input, or a node (its input `in`)."},
    )

    def aligned(self, source_rank: int, target_rank: int) -> tuple[tuple[int, int], ...]:
        """Pairs (dimension of the start, dimension of the end) that must be the same size."""
        return ()

    def factor(self, dimension: int, rank: int) -> int:
        """How many times as large one of the start's `rank` dimensions is when it arrives."""
        return 1

    def check(self, site: Site) -> Iterator[Finding]:
        """What is wrong with this edge's own fields."""
        return iter(())
