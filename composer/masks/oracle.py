"""What each rule means, spelled out for one query and one key: slow, and the measure for everything faster."""

from collections.abc import Iterable

from attrs import field, frozen

from composer.masks.rules import (
    And,
    Bidirectional,
    Causal,
    Chunk,
    Not,
    Or,
    Prefix,
    Rule,
    SameDocument,
    SameRun,
    Window,
)


def _as_names(values: Iterable[str | None]) -> tuple[str | None, ...]:
    return tuple(values)


def _as_numbers(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@frozen
class Layout:
    """A sequence as masks see it.

    `tokens` has the token name at each position, None for ordinary text. `documents` numbers the document of each
    position, for packed sequences; empty: all is one document.
    """

    tokens: tuple[str | None, ...] = field(converter=_as_names)
    documents: tuple[int, ...] = field(default=(), converter=_as_numbers)

    def __attrs_post_init__(self) -> None:
        if self.documents and len(self.documents) != len(self.tokens):
            raise ValueError(f"{len(self.documents)} document numbers for {len(self.tokens)} tokens")

    def document(self, position: int) -> int:
        """The document of a position."""
        return self.documents[position] if self.documents else 0

    def start(self, position: int) -> int:
        """The first position of the document a position is in."""
        while position > 0 and self.document(position - 1) == self.document(position):
            position -= 1
        return position

    def stop(self, position: int) -> int:
        """The position after the last one of the document a position is in."""
        position += 1
        while position < len(self.tokens) and self.document(position - 1) == self.document(position):
            position += 1
        return position


def allowed(rule: Rule, query: int, key: int, layout: Layout) -> bool:
    """Whether the rule lets the query at one position attend to the key at another (both from 0).

    The rule alone: that padding and other documents are never attended to is added where masks are made.
    """
    match rule:
        case And(left, right):
            return allowed(left, query, key, layout) and allowed(right, query, key, layout)
        case Or(left, right):
            return allowed(left, query, key, layout) or allowed(right, query, key, layout)
        case Not(inner):
            return not allowed(inner, query, key, layout)
        case Bidirectional():
            return True
        case Causal():
            return key <= query
        case Window(size):
            return key > query - size
        case SameDocument():
            return layout.start(query) == layout.start(key)
        case Chunk(size):
            start = layout.start(query)
            return start == layout.start(key) and (query - start) // size == (key - start) // size
        case SameRun(names):
            first, last = min(query, key), max(query, key)
            between = range(first, last + 1)
            return layout.start(first) == layout.start(last) and all(layout.tokens[i] in names for i in between)
        case Prefix(name):
            rest = range(max(query, key), layout.stop(query))
            return layout.start(query) == layout.start(key) and any(layout.tokens[i] == name for i in rest)
