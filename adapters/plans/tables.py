"""A parallel plan on a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from composer.plans.answer import Estimate
from composer.plans.interval import Interval
from composer.plans.plan_file import ParallelPlan
from composer.plans.search.changes import Change
from composer.plans.words import execution_words, gib, seconds


def print_plan(plan: ParallelPlan, console: Console) -> None:
    """What was chosen, its memory and time by component, the next best, and why not another."""
    best = plan.estimate
    job, card = plan.job, plan.hardware
    console.print(f"[bold]{execution_words(best.execution)}[/bold]")
    console.print(
        f"{job.gpus} × {card.name}, {job.seq} tokens × {job.global_batch}, "
        f"{job.images} images of {job.image_tokens} tokens, {job.precision}, {job.implementation}"
    )
    console.print(
        f"step {seconds(best.time.total)}   {best.tokens_per_second.likely:,.0f} tokens/s   "
        f"MFU {best.mfu.likely:.1%} ({best.mfu.low:.1%} – {best.mfu.high:.1%})   "
        f"memory {gib(best.fullest.memory.total)} of {card.memory_gib:.1f} GiB"
    )
    console.print(f"Decided by {plan.binding}.\n")
    for note in plan.notes:
        console.print(f"[bold]Note:[/bold] {escape(note)}\n")
    console.print(memory_table(best), time_table(best))
    console.print(alternatives_table(plan))
    if plan.rejected:
        console.print(rejected_table(plan))
    looked = ", ".join(f"{count:,} {what}" for what, count in plan.space.items())
    console.print(f"Space: {looked}.", style="dim")


def memory_table(estimate: Estimate) -> Table:
    """GiB of every pipeline rank by component."""
    table = Table(title="Memory of a GPU, GiB", title_justify="left")
    table.add_column("component")
    for rank in estimate.memory:
        table.add_column(f"pp rank {rank.pipeline_rank}" if len(estimate.memory) > 1 else "rank", justify="right")
    for name in estimate.fullest.memory.components():
        sizes = [rank.memory.components()[name] for rank in estimate.memory]
        if any(sizes):
            table.add_row(name, *(gib(size).removesuffix(" GiB") for size in sizes))
    table.add_section()
    table.add_row("total", *(gib(rank.memory.total).removesuffix(" GiB") for rank in estimate.memory), style="bold")
    table.add_row(
        "micro-batches in flight", *("+".join(str(count) for count in rank.in_flight) for rank in estimate.memory)
    )
    return table


def time_table(estimate: Estimate) -> Table:
    """Seconds of a step by component, as intervals."""
    table = Table(title="Time of a step, slowest pipeline rank", title_justify="left")
    for column in ("component", "low", "likely", "high", "share"):
        table.add_column(column, justify="left" if column == "component" else "right")
    total = estimate.time.total
    for name, part in estimate.time.components().items():
        if part.high > 0:
            share = part.likely / total.likely
            table.add_row(name.replace("_", " "), *(f"{each:.3f}" for each in _ends(part)), f"{share:.0%}")
    table.add_section()
    table.add_row("total", *(f"{each:.3f}" for each in _ends(total)), "", style="bold")
    return table


def _ends(part: Interval) -> tuple[float, float, float]:
    return part.low, part.likely, part.high


def alternatives_table(plan: ParallelPlan) -> Table:
    """The best and the next, of other parallel sizes."""
    table = Table(title="The best, and the next of other sizes", title_justify="left")
    for column in ("execution", "step", "memory", "MFU"):
        table.add_column(column, justify="left" if column == "execution" else "right")
    for estimate in (plan.estimate, *plan.alternatives):
        table.add_row(
            execution_words(estimate.execution),
            seconds(estimate.time.total),
            gib(estimate.fullest.memory.total),
            f"{estimate.mfu.likely:.1%}",
        )
    return table


def rejected_table(plan: ParallelPlan) -> Table:
    """Why not what one would try first."""
    table = Table(title="Why not", title_justify="left")
    table.add_column("layout")
    table.add_column("reason")
    for rejected in plan.rejected:
        table.add_row(rejected.name, rejected.reason)
    return table


def print_changes(smallest: Estimate | None, limit: int, changes: list[Change], console: Console) -> None:
    """That nothing fits, what comes nearest, and what would make it fit."""
    console.print("[bold]Nothing fits.[/bold]")
    if smallest is not None:
        rank = smallest.fullest
        console.print(
            f"The least memory is {gib(rank.memory.total)} of {gib(limit)}, on pipeline rank {rank.pipeline_rank}, "
            f"with {execution_words(smallest.execution)}."
        )
        console.print(memory_table(smallest))
    if not changes:
        console.print("No single change that was tried makes it fit.")
        return
    first, *others = changes
    console.print(f"Smallest change that would fit: [bold]{first.text}[/bold] {_with(first)}.")
    for change in others:
        console.print(f"Or: {change.text} {_with(change)}.")


def _with(change: Change) -> str:
    best = change.estimate
    return f"({execution_words(best.execution)}; {gib(best.fullest.memory.total)}, step {seconds(best.time.total)})"
