"""Selectors: sets of parameters by node, role, part, decoder layer and name, joined by set operations.

A selector says of one parameter at a time whether it is meant, so that a rank resolves it on the parameters that it
holds and gets its share of what the whole model's inventory gives.
"""

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import ClassVar

from attrs import field, frozen

from composer.graph import Graph
from composer.plans.inventory import Parameter

ROLES = ("tower", "projector", "decoder")
PARTS = ("embeddings", "head", "experts", "router", "norms")
WORDS = ("all", "none", *ROLES, *PARTS)


@frozen
class Scope:
    """What selectors are about: roles of the nodes by name, and the number of decoder layers; None: not known yet."""

    nodes: dict[str, str]
    layers: int | None = None

    @classmethod
    def of(cls, graph: Graph, layers: int | None = None) -> "Scope":
        """Of a graph, whose components must be known."""
        return cls({name: graph.component(name).role for name in graph.nodes}, layers)

    def with_role(self, role: str) -> tuple[str, ...]:
        """Names of the nodes of a role."""
        return tuple(name for name, of_node in self.nodes.items() if of_node == role)


Test = Callable[[Parameter], bool]


class Selector:
    """One of the classes below; `str()` gives text that parses to it again."""

    binds: ClassVar[int] = 9
    """How tightly its sign binds; names and calls most."""

    def test(self, scope: Scope) -> Test:
        """Whether a parameter is selected."""
        raise NotImplementedError

    def leaves(self) -> "Iterator[Leaf]":
        """The names and calls in it, from left to right."""
        raise NotImplementedError

    def select(self, parameters: Iterable[Parameter], scope: Scope) -> frozenset[str]:
        """Names of the selected ones among some parameters."""
        test = self.test(scope)
        return frozenset(parameter.name for parameter in parameters if test(parameter))


@frozen
class Leaf(Selector):
    """A name or a call. column: where it starts in the text, from 1."""

    column: int = field(default=1, eq=False, kw_only=True)

    def leaves(self) -> "Iterator[Leaf]":
        """Itself."""
        yield self


@frozen
class Word(Leaf):
    """`all`, `none`, a role or a part."""

    word: str
    called: bool = field(default=False, eq=False)
    """Written as `role(word)`."""

    def test(self, scope: Scope) -> Test:
        """Roles are those of nodes: a tower's norms belong to the tower."""
        if self.word in ROLES:
            nodes = scope.with_role(self.word)
            return lambda parameter: parameter.node in nodes
        if self.word in PARTS:
            return lambda parameter: parameter.part == self.word
        return lambda _: self.word == "all"

    def __str__(self) -> str:
        """The word."""
        return f"role({self.word})" if self.called else self.word


@frozen
class Name(Leaf):
    """A bare name of a node, or `node(name)`."""

    name: str
    called: bool = field(default=False, eq=False)

    def test(self, scope: Scope) -> Test:
        """All parameters of the node."""
        return lambda parameter: parameter.node == self.name

    def __str__(self) -> str:
        """The name; in `node()` where it would read as something else."""
        return f"node({self.name})" if self.called else self.name


@frozen
class Span:
    """Decoder layers from `first` to `last`, both included, from 0; negative: counted from the end; None: open."""

    first: int | None
    last: int | None

    def within(self, layers: int) -> range:
        """Of so many layers; may reach outside of them, or be empty."""
        first = 0 if self.first is None else self.first + (layers if self.first < 0 else 0)
        last = layers - 1 if self.last is None else self.last + (layers if self.last < 0 else 0)
        return range(first, last + 1)

    def __str__(self) -> str:
        """`0..3`, `-4..`, or one number."""
        if self.first == self.last and self.first is not None:
            return str(self.first)
        return "..".join("" if end is None else str(end) for end in (self.first, self.last))


@frozen
class Layers(Leaf):
    """`layers(0..3, -1)`: everything in some decoder layers."""

    spans: tuple[Span, ...]

    def test(self, scope: Scope) -> Test:
        """Layers outside the decoder select nothing."""
        if scope.layers is None:
            raise ValueError(f"{self}: the number of decoder layers is not known")
        chosen = {layer for span in self.spans for layer in span.within(scope.layers)}
        return lambda parameter: parameter.layer in chosen

    def __str__(self) -> str:
        """The call."""
        return f"layers({', '.join(map(str, self.spans))})"


@frozen
class Glob(Leaf):
    """Parameters whose whole name fits: `*` any text, dots too, `?` one character, `[abc]` one of some."""

    pattern: str

    def test(self, scope: Scope) -> Test:
        """Case counts."""
        return lambda parameter: fnmatchcase(parameter.name, self.pattern)

    def __str__(self) -> str:
        """The call, so that any pattern can stand in it."""
        quote = "'" if '"' in self.pattern else '"'
        return f"glob({quote}{self.pattern}{quote})"


@frozen
class _Pair(Selector):
    left: Selector
    right: Selector
    sign: ClassVar[str] = ""

    def leaves(self) -> Iterator[Leaf]:
        """Of both sides."""
        yield from self.left.leaves()
        yield from self.right.leaves()

    def __str__(self) -> str:
        """Both, in parentheses where they need them."""
        left = f"({self.left})" if self.left.binds < self.binds else str(self.left)
        right = f"({self.right})" if self.right.binds <= self.binds else str(self.right)
        return f"{left} {self.sign} {right}"


@frozen
class Union(_Pair):
    """`a | b`."""

    sign: ClassVar[str] = "|"
    binds: ClassVar[int] = 1

    def test(self, scope: Scope) -> Test:
        """In either."""
        left, right = self.left.test(scope), self.right.test(scope)
        return lambda parameter: left(parameter) or right(parameter)


@frozen
class Difference(_Pair):
    """`a - b`, and `a except b`, which differ in how tightly they bind and in nothing else."""

    sign: ClassVar[str] = "-"
    binds: ClassVar[int] = 2

    def test(self, scope: Scope) -> Test:
        """In the first and not in the second."""
        left, right = self.left.test(scope), self.right.test(scope)
        return lambda parameter: left(parameter) and not right(parameter)


@frozen
class Intersection(_Pair):
    """`a & b`."""

    sign: ClassVar[str] = "&"
    binds: ClassVar[int] = 3

    def test(self, scope: Scope) -> Test:
        """In both."""
        left, right = self.left.test(scope), self.right.test(scope)
        return lambda parameter: left(parameter) and right(parameter)
