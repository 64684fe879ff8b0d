"""A stage of a freeze plan as a table for the terminal."""

from typing import TYPE_CHECKING

from composer.plans.freeze_costs import NodeCosts
from composer.plans.freeze_file import PlannedStage

if TYPE_CHECKING:
    from rich.table import Table

CAPTION = "Of the whole model. fwd, bwd: GFLOPs of a token (decoder), or of a feature row (tower, projector)."
_COLUMNS = ("params", "trained", "grads", "optim", "fwd", "bwd")


def stage_table(stage: PlannedStage) -> "Table":
    """One row for each node, and their sum; the file has the exact numbers."""
    from rich import box
    from rich.table import Table

    sums = [sum(values) for values in zip(*map(_sums, stage.nodes), strict=True)] or [0] * 4
    table = Table(title=_asked(stage), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0)
    table.show_footer, table.pad_edge = True, False
    table.add_column("node", footer="all", no_wrap=True)
    footers = [_count(sums[0]), _count(sums[1]), _bytes(sums[2]), _bytes(sums[3]), "", ""]
    for column, footer in zip(_COLUMNS, footers, strict=True):
        table.add_column(column, justify="right", footer=footer, no_wrap=True)
    table.add_column("runs")
    for node in stage.nodes:
        table.add_row(node.node, *_cells(node), runs(node), style=None if node.autograd else "dim")
    return table


def runs(node: NodeCosts) -> str:
    """How a node runs, in words."""
    if not node.autograd:
        return "no autograd"
    if node.frozen_layers:
        return f"from layer {node.frozen_layers} on"
    return "trains" if node.trained else "passes gradient"


def _asked(stage: PlannedStage) -> str:
    frozen = f" except {' | '.join(stage.asked.freezes)}" if stage.asked.freezes else ""
    return f"{stage.name}: trains {' | '.join(stage.asked.trains)}{frozen}"


def _sums(node: NodeCosts) -> tuple[int, int, int, int]:
    return node.parameters, node.trained, node.gradient_bytes, node.optimizer_bytes


def _cells(node: NodeCosts) -> tuple[str, ...]:
    parameters, trained, gradients, optimizer = _sums(node)
    flops = (_gigaflops(node.forward_flops), _gigaflops(node.backward_flops))
    return _count(parameters), _count(trained), _bytes(gradients), _bytes(optimizer), *flops


def _gigaflops(flops: float) -> str:
    giga = flops / 1e9
    return f"{giga:,.0f}" if giga >= 100 else f"{giga:.2g}" if giga else "-"


def _count(number: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return str(number or "-")


def _bytes(number: int) -> str:
    """Powers of 1024, as a GPU's memory is counted."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number}B" if number else "-"
