"""Reads the table of weight names: which lines a decoder's parts bring."""

from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from adapters.huggingface.decoder_names import alternatives
from adapters.huggingface.weight_operations import FUSED, LAYER_OPERATIONS, OPERATIONS, TRANSPOSED


@frozen
class Row:
    """One line of the table.

    `names` are alternatives, each one per piece; `split` is a dimension, "E" or None; `inside` the dimension of each
    expert that ranks may share, and how many stretches of it are shared, each on its own.
    """

    condition: str
    composed: str
    names: tuple[tuple[str, ...], ...]
    operation: str
    split: int | str | None
    inside: tuple[int, int] | None = None
    set_number: int = 0


def parse(table: str) -> tuple[Row, ...]:
    """Read a table; see `weight_table.py`.

    Raises:
        ValueError: a line that is no row and no heading, or an unknown operation.
    """
    return tuple(_rows(table))


def _rows(table: str) -> Iterator[Row]:
    condition = ""
    for line in filter(str.strip, table.splitlines()):
        if not line.startswith(" "):
            condition = line.strip()
            continue
        columns = [column.strip() for column in line.split("|")]
        if len(columns) != 4 or columns[2] not in OPERATIONS.keys() | LAYER_OPERATIONS.keys():
            raise ValueError(f"not a line of a weight table: {line.strip()!r}")
        composed, names, operation, split = columns
        if split.startswith("E"):
            inside = int(split.removeprefix("E")), FUSED.get(operation, 1)
            yield Row(condition, composed, alternatives(names), operation, "E", inside)
        else:
            yield Row(condition, composed, alternatives(names), operation, None if split == "-" else int(split))


def transposed(row: Row) -> Row:
    """The line of experts that lie transposed on the other side."""
    assert row.inside is not None
    dim, times = row.inside
    return evolve(row, operation=TRANSPOSED[row.operation], inside=(3 - dim, times))


def holds(condition: str, part: Any) -> bool:
    """Whether `part`, a config or a dict of facts, has all that a heading names."""
    return condition == "always" or all(_holds(term.strip(), part) for term in condition.split("&"))


def _holds(term: str, part: Any) -> bool:
    path, _, wanted = term.removeprefix("not ").partition("=")
    value = part
    for name in path.split("."):
        value = None if value is None else value[name] if isinstance(value, dict) else getattr(value, name)
    found = str(value) == wanted if wanted else bool(value)
    return found != term.startswith("not ")
