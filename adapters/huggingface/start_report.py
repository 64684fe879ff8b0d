"""What became of the tensors of several checkpoints: a table for people, names for programs."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from adapters.huggingface.start import NodeStart, Start
from adapters.screen import screen

if TYPE_CHECKING:
    from rich.console import Console

DEPTH = 2
"""Words of a name that unused tensors are counted by."""


def plain_report(start: Start) -> dict[str, Any]:
    """Every name, as JSON holds it."""
    return {
        "nodes": {each.node: _plain_node(each) for each in start.nodes},
        "unused": {str(place): list(names) for place, names in start.unused.items()},
        "converted": [{"from": old, "to": new, "tensors": count} for (old, new), count in start.conversions.items()],
    }


def _plain_node(node: NodeStart) -> dict[str, Any]:
    return {
        "checkpoint": None if node.source is None else str(node.source),
        "reused": [{"checkpoint": there, "model": here} for there, here in node.reused],
        "reinitialised": list(node.fresh),
        "new_rows": [{"model": each.table, "first": each.old, "end": each.rows} for each in node.grown],
    }


def print_report(start: Start, console: "Console | None" = None) -> None:
    """Counts by node, and what no node takes, by the beginnings of names."""
    from rich.table import Table

    console = console or screen()
    table = Table("node", "from", "reused", "re-initialised", "unused there")
    for each in start.nodes:
        fresh = f"{len(each.fresh)} tensors" if each.fresh else _rows(each)
        unused = "" if each.source is None else str(len(start.unused[each.source]))
        table.add_row(each.node, str(each.source or "fresh"), str(len(each.reused)), fresh, unused)
    console.print(table)
    for place, names in start.unused.items():
        counts = Counter(".".join(name.split(".")[:DEPTH]) for name in names)
        words = ", ".join(f"{name} ({count})" for name, count in counts.items())
        if words:
            console.print(f"unused of {place}: {words}", markup=False, highlight=False, soft_wrap=True)
    for (old, new), count in start.conversions.items():
        console.print(f"{count} tensors converted from {old} to {new}", markup=False, highlight=False)


def _rows(node: NodeStart) -> str:
    return (
        "; ".join(f"rows {each.old} to {each.rows - 1} of {each.table.split('.', 1)[1]}" for each in node.grown) or "0"
    )
