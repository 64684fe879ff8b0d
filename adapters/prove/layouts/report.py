"""The layout table, for the terminal and for the documentation."""

from pathlib import Path
from typing import TYPE_CHECKING

from adapters.model_pages import HEADINGS, page_file, row
from adapters.prove.layouts.findings import BOUND, BatchProof, LayoutProof
from adapters.prove.layouts.running import LayoutsReport
from adapters.screen import screen

if TYPE_CHECKING:
    from rich.console import Console

INTRODUCTION = """\
# {spec} under parallel layouts

Written by `vlm-composer prove specs/{spec}.yaml --layout all --write docs/models`. Tiny models with the structure of
the spec's configurations, in float32, each rank a process; the measure is one process, sample by sample, without
schedules, wrappers or packing. Bound for the loss and for every gradient: {bound}, relative.

- **loss, gradients**: the worst of three global batches: pictures in most rows, on some data-parallel ranks only, and
  none. Gradients are sent while others are computed.
- **packed**: the worst gradient of four packed rows of two documents each, against the documents alone.
- **rows turned**: feature rows whose sign was changed while one decoder layer attended alone, the first of each kind on
  every pipeline stage in turn, in packed rows that have every document with pictures; exactly the tokens that the mask
  rule lets see them changed, in their own document.
- **images a rank**: encoded by each rank, of those in the packed rows; no image is encoded twice.
- In every layout each role was frozen in turn: gradient reached exactly the other nodes, and theirs were the same."""


def print_report(report: LayoutsReport, console: "Console | None" = None) -> None:
    """A line for each model and layout, then everything that is wrong."""
    from rich.table import Table

    console = console or screen()
    table = Table(title=f"{report.spec}: against one rank", title_justify="left")
    for heading in HEADINGS[:2]:
        table.add_column(heading, no_wrap=True)
    for heading in HEADINGS[2:]:
        table.add_column(heading, justify="right")
    for proof in report.proofs:
        table.add_row(*_cells(proof), style=None if proof.green else "red")
    console.print(table)
    said = [] if report.problem is None else [report.problem]
    said += [
        f"{report.spec} {proof.case.model} {proof.case.named.name}: {problem}"
        for proof in report.proofs
        for problem in proof.problems
    ]
    for text in said:
        console.print(text, style="red", markup=False, highlight=False)
    console.print("proved" if report.exit_code == 0 else "NOT PROVED")


def _cells(proof: LayoutProof) -> tuple[str, ...]:
    named = proof.case.named
    sequence = " +sp" if named.layout.sequence_parallel and "sp" not in named.name else ""
    first = (proof.case.model, named.name + sequence, str(named.ranks))
    if not proof.batches:
        return (*first, "failed", "", "", "", "")
    packed = [batch for batch in proof.batches if batch.name.startswith("packed")]
    others = [batch for batch in proof.batches if batch not in packed]
    return (
        *first,
        f"{max(batch.loss for batch in others):.0e}",
        f"{max(batch.gradient for batch in others):.0e}",
        f"{max(batch.gradient for batch in packed):.0e}",
        str(proof.rows),
        _images(packed[0]),
    )


def _images(batch: BatchProof) -> str:
    return " ".join(map(str, batch.encoded)) + f" of {batch.images}"


def write_page(report: LayoutsReport, folder: Path) -> Path:
    """`NAME.layouts.md`: what was compared, and the table. Returns its path."""
    bound = f"{BOUND:.0e}"
    if report.gradient_bound != BOUND:
        bound = f"{BOUND:.0e}\n(gradients {report.gradient_bound:.0e}: layers with a `delta_net` pass rounding on)"
    about = INTRODUCTION.format(spec=report.spec, bound=bound)
    lines = [
        *about.splitlines(),
        "",
        row(HEADINGS),
        "|---" * len(HEADINGS) + "|",
        *(row(_cells(proof)) for proof in report.proofs),
        "",
        *(
            f"- **{proof.case.model} {proof.case.named.name}**: {text}"
            for proof in report.proofs
            for text in proof.problems
        ),
    ]
    path = page_file(folder, report.spec)
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return path
