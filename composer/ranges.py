"""Numbers that must lie in a range, worded once."""

from collections.abc import Iterator
from math import inf

from composer.finding import Finding


def whole(path: str, value: int | str, least: int = 1) -> Iterator[Finding]:
    """A finding if a number is less than the least; a name of a dimension is no number."""
    if not isinstance(value, str) and value < least:
        yield Finding(path, f"{value} is too small: {least} or more is expected.")


def positive(path: str, value: float | None, *, zero: bool = False) -> Iterator[Finding]:
    """A finding if a number is not above 0 (or 0, with `zero`) and finite; None is no number."""
    if value is not None and not (0 < value < inf or (zero and value == 0)):
        yield Finding(path, f"{value} is out of range: a number {'of 0 or more' if zero else 'above 0'} is expected.")
