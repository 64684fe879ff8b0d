"""The quickstart: compose a small Gemma 4 VL, prove it equals transformers, teach it to read numbers, and check it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from attrs import asdict, frozen
from rich.console import Console
from rich.table import Table

from adapters.parity import measure_graph
from adapters.parity.report import VariantReport
from adapters.quickstart.answers import Answer, Score, read_pictures, scores
from adapters.quickstart.data import DataSizes, write_data
from adapters.quickstart.model import VOCAB_SIZE, load_graph, training_settings
from adapters.quickstart.reload import Agreement, compare
from adapters.quickstart.report import draw_loss, draw_sheet
from adapters.training import TrainingResult
from adapters.training import run as train
from adapters.training.samples import JsonlSamples
from adapters.training.settings_file import settings_text
from composer import dump
from composer.views import to_terminal

SIZES = DataSizes(training=20_000, heldout=200)
TARGET = 0.85
MOST_THREADS = 4  # more only get into each other's way at these sizes


@frozen(eq=False)
class Summary:
    """What came out. parity: of the untrained model with transformers; agreement: of the trained one; seconds: all."""

    parity: VariantReport
    scores: tuple[Score, ...]
    agreement: Agreement
    seconds: float
    folder: Path

    @property
    def exit_code(self) -> int:
        """0 if the composed model is what transformers has, before training and after; accuracy is a result, no check."""
        return 0 if self.parity.green and self.agreement.holds else 1


def run(
    spec: Path, folder: Path, *, seed: int = 0, sizes: DataSizes = SIZES, console: Console | None = None
) -> Summary:
    """Run the whole job.

    Args:
        spec: the Gemma 4 VL spec.
        folder: gets `data/`, `log.jsonl`, `tensorboard/`, `hf/`, `loss.png`, `sheet.png`, `summary.json`, and
            `spec.yaml` and `training.yaml`, with which `vlm-composer train` repeats the training.
        seed: of the split of digits, the pictures, the fresh parameters and the order of samples.
        sizes: how many pictures to draw.
        console: where everything is shown; a new one by default.

    Raises:
        DigitsMissingError: the digits are not installed.
    """
    console, began = console or Console(), time.monotonic()
    torch.set_num_threads(min(torch.get_num_threads(), MOST_THREADS))
    graph, settings = load_graph(spec), training_settings(seed)
    _heading(console, 1, "The graph, from one YAML file")
    console.print(to_terminal(graph), markup=False, highlight=False)
    _heading(console, 2, "Parity with transformers, before anything is trained")
    parity = measure_graph(graph, "quickstart")
    _show_parity(console, parity)
    _heading(console, 3, "Data: real handwriting, tiled into pictures of numbers")
    write_data(folder / "data", sizes, VOCAB_SIZE, seed)
    samples = list(JsonlSamples(folder / "data" / "heldout.jsonl"))
    console.print(
        f"{sizes.training:,} training pictures; {len(samples)} held out, of digits that training never shows: "
        f"{folder / 'data'}",
        highlight=False,
    )
    (folder / "spec.yaml").write_text(dump(graph), encoding="utf-8")
    (folder / "training.yaml").write_text(settings_text(settings), encoding="utf-8")
    _heading(console, 4, "Training: the projector first, then everything")
    result = train(graph, settings, folder / "data", folder, console=console)
    _heading(console, 5, "Reading held-out pictures")
    answers = read_pictures(result.model, result.collator, samples)
    _show_scores(console, scores(answers))
    _heading(console, 6, "The export, reloaded by transformers")
    agreement = compare(result.model, folder / "hf", result.collator, samples, [answer.said for answer in answers])
    _show_agreement(console, agreement, folder / "hf")
    return _finish(
        console, result, answers, Summary(parity, scores(answers), agreement, time.monotonic() - began, folder)
    )


def _heading(console: Console, number: int, words: str) -> None:
    console.print()
    console.rule(f"[bold]{number}  {words}", align="left")


def _show_parity(console: Console, parity: VariantReport) -> None:
    passed = len(parity.gradients) - len(parity.wrong_gradients)
    console.print(
        f"{parity.parameters:,} parameters. {parity.logits}; {parity.loss}; {passed} of {len(parity.gradients)} "
        f"gradients equal; reloaded by transformers: {'different' if parity.round_trip else 'the same bits'}.",
        highlight=False,
    )
    for failure in parity.failures():
        console.print(failure, style="red", markup=False, highlight=False)


def _show_scores(console: Console, found: Sequence[Score]) -> None:
    table = Table("digits", "exactly right", "accuracy", "guessing")
    for score in found:
        table.add_row(
            str(score.digits), f"{score.right} of {score.total}", f"{score.accuracy:.1%}", f"{score.chance:.2%}"
        )
    console.print(table)
    reached = "reached" if found[0].accuracy >= TARGET else "missed"
    console.print(f"Target for {found[0].digits} digits, {TARGET:.0%}: {reached}.", highlight=False)


def _show_agreement(console: Console, agreement: Agreement, folder: Path) -> None:
    console.print(
        f"{folder}: logits differ by {agreement.logits_error:.1e} (relative); {agreement.same} of {agreement.total} "
        f"answers of its own generate() are the same.",
        style=None if agreement.holds else "red",
        highlight=False,
    )


def _finish(console: Console, result: TrainingResult, answers: Sequence[Answer], summary: Summary) -> Summary:
    folder = summary.folder
    draw_loss(result.records, folder / "loss.png")
    draw_sheet(answers, summary.scores, folder / "sheet.png")
    written = {
        "accuracy": {
            str(score.digits): asdict(score) | {"accuracy": score.accuracy, "chance": score.chance}
            for score in summary.scores
        },
        "parity": summary.parity.green,
        "reload": asdict(summary.agreement),
        "steps": len(result.records),
        "final_loss": result.records[-1].loss,
        "seconds": round(summary.seconds, 1),
    }
    (folder / "summary.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    console.print()
    console.print(
        f"Done in {summary.seconds / 60:.1f} minutes. Look at {folder / 'sheet.png'} and {folder / 'loss.png'}; or\n"
        f"  tensorboard --logdir {folder}\n"
        f"  vlm-composer train {folder / 'spec.yaml'} {folder / 'training.yaml'} {folder / 'data'}",
        markup=False,
        highlight=False,
    )
    return summary
