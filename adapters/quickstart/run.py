"""The quickstart: compose a small Gemma 4 VL, prove it equals transformers, teach it to read numbers, and check it."""

import json
import time
from pathlib import Path

import torch
from attrs import asdict, frozen
from rich.console import Console

from adapters.huggingface.sources import sources_of
from adapters.parity import measure_graph
from adapters.parity.report import VariantReport
from adapters.quickstart import display
from adapters.quickstart.answers import Answer, Score, read_pictures, score_answers
from adapters.quickstart.data import DataSizes, write_data
from adapters.quickstart.model import RECIPE
from adapters.quickstart.recipe import Recipe
from adapters.quickstart.reload import Agreement, compare
from adapters.quickstart.report import draw_loss, draw_sheet
from adapters.training import TrainingResult
from adapters.training import run as train
from adapters.training.samples import JsonlSamples
from adapters.training.settings import Training
from adapters.training.settings_file import settings_text
from composer import Graph, dump
from composer.views import to_terminal

SIZES = DataSizes(training=20_000, heldout=200)
MOST_THREADS = 4  # more only get into each other's way at these sizes


@frozen(eq=False)
class Summary:
    """What came out. parity: of the untrained model with transformers; agreement: of the trained one; seconds: all."""

    parity: VariantReport
    scores: tuple[Score, ...]
    agreement: Agreement
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 if the model equals that of transformers, before training and after. Accuracy is a result, not a check."""
        return 0 if self.parity.green and self.agreement.holds else 1


def run(
    spec: Path,
    folder: Path,
    *,
    recipe: Recipe = RECIPE,
    seed: int = 0,
    sizes: DataSizes = SIZES,
    settings: Training | None = None,
    console: Console | None = None,
) -> Summary:
    """Run the whole job.

    Args:
        spec: the spec of the recipe.
        folder: gets `data/`, `log.jsonl`, `tensorboard/`, `hf/`, `loss.png`, `sheet.png`, `summary.json`, and
            `spec.yaml` and `training.yaml`, with which `vlm-composer train` repeats the training.
        recipe: sizes and settings of the model; by default the small Gemma 4 VL.
        seed: of the split of digits, the pictures, the fresh parameters and the order of samples.
        sizes: how many pictures to draw.
        settings: of the training; by default those of the quickstart.
        console: where everything is shown; a new one by default.

    Raises:
        DigitsMissingError: the digits are not installed.
    """
    console, began = console or Console(), time.monotonic()
    torch.set_num_threads(min(torch.get_num_threads(), MOST_THREADS))
    graph, settings = recipe.load(spec, folder, seed), settings or recipe.settings(seed)
    display.show_heading(console, 1, "The graph, from one YAML file")
    console.print(to_terminal(graph), markup=False, highlight=False)
    display.show_heading(console, 2, "Parity with transformers, before anything is trained")
    parity = measure_graph(graph, "quickstart")
    display.show_parity(console, parity)
    display.show_heading(console, 3, "Data: real handwriting, tiled into pictures of numbers")
    write_inputs(folder, graph, settings, recipe, sizes, seed)
    console.print(
        f"{sizes.training:,} training pictures, and {sizes.heldout} held out of each length, of handwriting that "
        f"training never shows: {folder / 'data'}",
        highlight=False,
    )
    display.show_heading(console, 4, "Training: the projector first, then everything")
    sources = sources_of(graph)
    result = train(graph, settings, folder / "data", folder, weights=sources, tensorboard=True, console=console)
    display.show_heading(console, 5, "Reading held-out pictures, by greedy decoding")
    samples = list(JsonlSamples(folder / "data" / "heldout.jsonl"))
    answers = read_pictures(result.model, result.collator, samples)
    scores = score_answers(answers)
    display.show_scores(console, scores, recipe.target)
    display.show_heading(console, 6, "The export, reloaded by transformers")
    agreement = compare(result.model, folder / "hf", result.collator, samples, [answer.said for answer in answers])
    display.show_agreement(console, agreement, folder / "hf")
    summary = Summary(parity, scores, agreement, time.monotonic() - began)
    write_results(folder, result, answers, summary)
    display.show_end(console, folder, summary.seconds)
    return summary


def write_inputs(folder: Path, graph: Graph, settings: Training, recipe: Recipe, sizes: DataSizes, seed: int) -> None:
    """The data folder, the resolved spec and the settings: all that `vlm-composer train` needs."""
    write_data(folder / "data", sizes, recipe.vocab_size, seed, recipe.special, recipe.lengths)
    (folder / "spec.yaml").write_text(dump(graph), encoding="utf-8")
    (folder / "training.yaml").write_text(settings_text(settings), encoding="utf-8")


def write_results(folder: Path, result: TrainingResult, answers: list[Answer], summary: Summary) -> None:
    """The loss curve, the sheet of pictures with answers, and the numbers as JSON."""
    draw_loss(result.records, folder / "loss.png", [score.digits for score in summary.scores])
    draw_sheet(answers, summary.scores, folder / "sheet.png")
    numbers = {
        "scores": [asdict(s) | {"accuracy": s.accuracy, "chance": s.chance} for s in summary.scores],
        "parity": summary.parity.green,
        "reload": asdict(summary.agreement),
        "steps": len(result.records),
        "final_loss": result.records[-1].loss,
        "seconds": round(summary.seconds, 1),
    }
    (folder / "summary.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
