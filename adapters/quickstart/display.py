"""What the quickstart says on the way."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adapters.parity.report import VariantReport
from adapters.quickstart.answers import Score
from adapters.quickstart.reload import Agreement


def show_heading(console: Console, number: int, words: str) -> None:
    """Begin a step of the job."""
    console.print()
    console.rule(f"[bold]{number}  {words}", align="left")


def show_parity(console: Console, parity: VariantReport) -> None:
    """Errors relative to transformers, their bounds, and whatever exceeds them."""
    passed = len(parity.gradients) - len(parity.wrong_gradients)
    back = "different" if parity.round_trip else "the same bits"
    words = (
        f"{parity.parameters:,} parameters; {parity.logits}; {parity.loss}; {passed} of {len(parity.gradients)} "
        f"gradients within bounds; exported and reloaded: {back}."
    )
    console.print(words, markup=False, highlight=False)
    for failure in parity.failures():
        console.print(failure, style="red", markup=False, highlight=False)


def show_scores(console: Console, scores: Sequence[Score], target: float) -> None:
    """Exact matches by length, beside what guessing gives."""
    table = Table("digits", "exactly right", "accuracy", "guessing")
    for score in scores:
        right = f"{score.right} of {score.total}"
        table.add_row(str(score.digits), right, f"{score.accuracy:.1%}", f"{score.chance:.2%}")
    console.print(table)
    verdict = "reached" if scores[0].accuracy >= target else "missed"
    console.print(f"Target for {scores[0].digits} digits, {target:.0%}: {verdict}.", highlight=False)


def show_agreement(console: Console, agreement: Agreement, folder: Path) -> None:
    """Whether transformers gives the same from the export."""
    console.print(
        f"{folder}: logits differ by {agreement.logits_error:.1e} (relative); {agreement.same} of {agreement.total} "
        f"answers of its own generate() are the same.",
        style=None if agreement.holds else "red",
        markup=False,
        highlight=False,
    )


def show_end(console: Console, folder: Path, seconds: float) -> None:
    """Where to look, and how to do it again by hand."""
    console.print()
    console.print(
        f"Done in {seconds / 60:.1f} minutes. Look at {folder / 'sheet.png'} and {folder / 'loss.png'}; or\n"
        f"  tensorboard --logdir {folder}\n"
        f"  vlm-composer train {folder / 'spec.yaml'} {folder / 'training.yaml'} {folder / 'data'}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
