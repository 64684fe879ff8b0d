"""Many names in few lines: numbered parts folded into ranges, exactly.

`decoder.layers.{0..3,7}.norm.weight` stands for five names; with several braces, for every combination.
"""

import re
from collections.abc import Iterable
from itertools import product
from math import prod

_BRACES = re.compile(r"\{([0-9.,]*)\}")
_MAX_NAMES = 10_000_000
_RANGE = re.compile(r"(0|[1-9][0-9]{0,17})(?:\.\.(0|[1-9][0-9]{0,17}))?")

type _Step = str | tuple[int, ...]


class PatternError(ValueError):
    """A text is no pattern of names."""


def fold(names: Iterable[str]) -> tuple[str, ...]:
    """Patterns that `expand` turns into the same set of names, in the order of the first name of each.

    Raises:
        PatternError: a name holds a brace.
    """
    rows: dict[tuple[_Step, ...], None] = {}
    for name in names:
        if "{" in name or "}" in name:
            raise PatternError(f"{name}: a name with braces cannot be told from a pattern")
        rows[tuple((int(step),) if _is_number(step) else step for step in name.split("."))] = None
    longest = max(map(len, rows), default=0)
    for place in reversed(range(longest)):
        rows = _merged(rows, place)
    return tuple(".".join(map(_written, row)) for row in rows)


def expand(patterns: Iterable[str]) -> frozenset[str]:
    """All names that some patterns stand for.

    Raises:
        PatternError: braces that hold no numbers and ranges.
    """
    found: set[str] = set()
    for pattern in patterns:
        pieces = _BRACES.split(pattern)
        if any("{" in piece or "}" in piece for piece in pieces[::2]):
            raise PatternError(f"{pattern!r}: braces hold numbers and ranges, as in {{0..3,7}}")
        choices = [(piece,) if at % 2 == 0 else _numbers(piece, pattern) for at, piece in enumerate(pieces)]
        if len(found) + prod(map(len, choices)) > _MAX_NAMES:
            raise PatternError(f"{pattern!r}: stands for more than {_MAX_NAMES} names")
        found.update(map("".join, product(*choices)))
    return frozenset(found)


def _is_number(step: str) -> bool:
    """Written as `str` writes it, so that it can be written again."""
    return step.isdecimal() and step.isascii() and str(int(step)) == step


def _merged(rows: Iterable[tuple[_Step, ...]], place: int) -> dict[tuple[_Step, ...], None]:
    """Rows that differ in the number at one place only become one row."""
    alike: dict[tuple[_Step | None, ...], list[tuple[_Step, ...]]] = {}
    for row in rows:
        folds = place < len(row) and isinstance(row[place], tuple)
        alike.setdefault((*row[:place], None, *row[place + 1 :]) if folds else row, []).append(row)
    merged: dict[tuple[_Step, ...], None] = {}
    for group in alike.values():
        first = group[0]
        if len(group) > 1:
            numbers = sorted(number for row in group for number in row[place])
            first = (*first[:place], tuple(int(number) for number in numbers), *first[place + 1 :])
        merged[first] = None
    return merged


def _written(step: _Step) -> str:
    if isinstance(step, str):
        return step
    if len(step) == 1:
        return str(step[0])
    ranges: list[list[int]] = []
    for number in step:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    words = [str(first) if first == last else f"{first}..{last}" for first, last in ranges]
    return f"{{{','.join(words)}}}"


def _numbers(text: str, pattern: str) -> list[str]:
    found: list[str] = []
    for word in text.split(","):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise PatternError(f"{pattern!r}: {word!r} is no number and no range")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first > _MAX_NAMES:
            raise PatternError(f"{pattern!r}: {word} stands for more than {_MAX_NAMES} numbers")
        if last < first:
            raise PatternError(f"{pattern!r}: the range {word} runs backwards")
        found += map(str, range(first, last + 1))
    return found
