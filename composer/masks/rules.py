"""The rules themselves: frozen, hashable, and printed with as few parentheses as possible."""

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar, get_args

from attrs import Attribute, field, frozen

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OR, _AND, _NOT, _ATOM = range(4)  # how tightly each binds


def _positive(rule: object, attribute: "Attribute[int]", value: object) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(
            f"{type(rule).__name__}.{attribute.name}: a number of tokens from 1 on is expected, not {value!r}"
        )


def _names(rule: object, attribute: "Attribute[tuple[str, ...]]", value: tuple[str, ...]) -> None:
    if not value or len(set(value)) < len(value) or not all(map(_is_name, value)):
        raise ValueError(f"{type(rule).__name__}.{attribute.name}: different token names are expected, not {value!r}")


def _name(rule: object, attribute: "Attribute[str]", value: object) -> None:
    if not _is_name(value):
        raise ValueError(f"{type(rule).__name__}.{attribute.name}: {value!r} is no token name")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _as_tuple(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@frozen
class Causal:
    """The key is the query or before it."""

    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return "causal"


@frozen
class Bidirectional:
    """Every key."""

    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return "bidirectional"


@frozen
class Window:
    """The key is after query - size; later keys are not limited, so `causal & window(n)` sees n keys."""

    size: int = field(validator=_positive)
    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return f"window({self.size})"


@frozen
class Chunk:
    """Query and key are in the same block of `size` tokens, counted from the start of their document."""

    size: int = field(validator=_positive)
    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return f"chunk({self.size})"


@frozen
class SameRun:
    """Query and key are in the same maximal stretch of tokens of any named kind; document borders end it."""

    tokens: tuple[str, ...] = field(converter=_as_tuple, validator=_names)
    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return f"same_run({', '.join(self.tokens)})"


@frozen
class SameDocument:
    """Query and key are in the same document of a packed sequence."""

    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return "same_document"


@frozen
class Prefix:
    """Query and key are in the same document, neither after the last `token` in it."""

    token: str = field(validator=_name)
    tightness: ClassVar[int] = _ATOM

    def __str__(self) -> str:
        return f"prefix({self.token})"


@frozen
class Not:
    """Exactly what the rule forbids."""

    rule: "Rule"
    tightness: ClassVar[int] = _NOT

    def __str__(self) -> str:
        return f"~{_inside(self.rule, _NOT)}"


@frozen
class And:
    """What both rules allow."""

    left: "Rule"
    right: "Rule"
    tightness: ClassVar[int] = _AND

    def __str__(self) -> str:
        return f"{_inside(self.left, _AND)} & {_inside(self.right, _AND + 1)}"


@frozen
class Or:
    """What either rule allows."""

    left: "Rule"
    right: "Rule"
    tightness: ClassVar[int] = _OR

    def __str__(self) -> str:
        return f"{_inside(self.left, _OR)} | {_inside(self.right, _OR + 1)}"


type Rule = Causal | Bidirectional | Window | Chunk | SameRun | SameDocument | Prefix | Not | And | Or

RULES: tuple[type, ...] = get_args(Rule.__value__)


def _inside(rule: Rule, tightness: int) -> str:
    return f"({rule})" if rule.tightness < tightness else str(rule)


def leaves(rule: Rule) -> Iterator[Rule]:
    """The rules that are not made of others, from left to right, with repetitions."""
    match rule:
        case And(left, right) | Or(left, right):
            yield from leaves(left)
            yield from leaves(right)
        case Not(inner):
            yield from leaves(inner)
        case _:
            yield rule


def tokens(rule: Rule) -> tuple[str, ...]:
    """The token names a rule uses, each once, from left to right."""
    names: dict[str, None] = {}
    for leaf in leaves(rule):
        if isinstance(leaf, SameRun):
            names.update(dict.fromkeys(leaf.tokens))
        elif isinstance(leaf, Prefix):
            names[leaf.token] = None
    return tuple(names)
