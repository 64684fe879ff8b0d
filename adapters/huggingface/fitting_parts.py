"""Which parts of a decoder a layer has, by the names of its weights: the weight table, read from right to left.

The table says which names a part brings. Here names are given and the parts are wanted whose names they are: from the
defaults on, what brings the two sets nearer to each other is changed, one or two parts at a time, until nothing does.
"""

from itertools import combinations
from typing import Any

from attrs import evolve, frozen

from adapters.huggingface.decoder_names import renamed
from adapters.huggingface.weight_rows import Row, holds, parse
from adapters.huggingface.weight_table import LAYER

OFF = "none"


@frozen
class Fitted:
    """Settings by path below a layer, where they are not off, and the names that do not fit.

    `left` are names of the model that no part takes, `missing` those that the nearest parts ask for and it lacks;
    `because` has a name that each setting was taken from; `paths` are all that the table knows, `reached` those that
    are not within a part that is off.
    """

    paths: tuple[str, ...]
    reached: frozenset[str]
    settings: dict[str, str | bool]
    because: dict[str, str]
    left: tuple[str, ...]
    missing: tuple[str, ...]


def fit(names: set[str], called: dict[str, str] | None = None) -> Fitted:
    """Find the parts of a layer.

    Args:
        names: of its parameters and persistent buffers, below the layer.
        called: beginnings of names in the table that this family calls otherwise, with what it calls them.
    """
    rows = tuple(_as_called(row, called or {}) for row in parse(LAYER))
    choices = _choices(rows)
    chosen = {path: values[0] for path, values in choices.items()}
    best = _distance(rows, chosen, names)
    while better := _better(rows, choices, chosen, names, best):
        best, chosen = better
    wanted = _names(rows, chosen)
    settings = {path: value for path, value in chosen.items() if value and value != OFF and _reached(path, chosen)}
    because = {path: _evidence(rows, chosen, path, names) for path in settings}
    reached = frozenset(path for path in chosen if _reached(path, chosen))
    return Fitted(
        tuple(choices), reached, settings, because, tuple(sorted(names - wanted)), tuple(sorted(wanted - names))
    )


def _as_called(row: Row, called: dict[str, str]) -> Row:
    return evolve(row, names=tuple(tuple(renamed(name, called) for name in names) for names in row.names))


def _choices(rows: tuple[Row, ...]) -> dict[str, list[Any]]:
    """Values that headings of the table ask for, by path; off first, unless every heading names a value."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for term in row.condition.split("&"):
            path, _, value = term.strip().removeprefix("not ").partition("=")
            if path == "always":
                continue
            values = found.setdefault(path, [])
            values += [choice for choice in ((value,) if value else (False, True)) if choice not in values]
    return {path: values if len(values) > 1 else [OFF, *values] for path, values in found.items()}


def _better(
    rows: tuple[Row, ...], choices: dict[str, list[Any]], chosen: dict[str, Any], names: set[str], best: int
) -> tuple[int, dict[str, Any]] | None:
    """The best change of one setting; of two, if none of one helps."""
    changes = [{path: value} for path, values in choices.items() for value in values if value != chosen[path]]
    pairs = (one | two for one, two in combinations(changes, 2) if one.keys() != two.keys())
    for group in (changes, pairs):
        tried = [(_distance(rows, chosen | change, names), chosen | change) for change in group]
        nearest = min(tried, key=lambda pair: pair[0])
        if nearest[0] < best:
            return nearest
    return None


def _distance(rows: tuple[Row, ...], chosen: dict[str, Any], names: set[str]) -> int:
    return len(_names(rows, chosen) ^ names)


def _names(rows: tuple[Row, ...], chosen: dict[str, Any]) -> set[str]:
    facts = _nested(chosen)
    return {name for row in rows if holds(row.condition, facts) for name in row.names[0]}


def _nested(chosen: dict[str, Any]) -> dict[str, Any]:
    """Paths as mappings; below a part that is off there is nothing."""
    facts: dict[str, Any] = {}
    for path in sorted(chosen, key=lambda path: path.count(".")):
        *parents, last = path.split(".")
        level: Any = facts
        for name in parents:
            level = level.setdefault(name, {}) if isinstance(level, dict) else None
            if level is None:
                break
        if isinstance(level, dict):
            has_parts = any(other.startswith(f"{path}.") for other in chosen)
            level[last] = ({"": True} if chosen[path] else None) if has_parts else chosen[path]
    return facts


def _reached(path: str, chosen: dict[str, Any]) -> bool:
    return all(chosen.get(path[:end], True) for end, letter in enumerate(path) if letter == ".")


def _evidence(rows: tuple[Row, ...], chosen: dict[str, Any], path: str, names: set[str]) -> str:
    """A name that is there because of a setting."""
    value = chosen[path]
    term = path if value is True else f"{path}={value}"
    for row in rows:
        if term in [each.strip() for each in row.condition.split("&")] and names & set(row.names[0]):
            return min(names & set(row.names[0]))
    return "the names of its weights"
