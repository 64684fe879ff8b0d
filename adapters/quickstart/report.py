"""Two pictures of a run: the loss curve, and a sheet of held-out pictures with what the model says to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adapters.quickstart.answers import Answer, Score
from adapters.quickstart.data import LENGTHS
from adapters.training.log import StepRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, RIGHT, WRONG, BLUE = "#1f2933", "#9aa5b1", "#0f7b45", "#c62f2f", "#2f6fd0"
STAGE_COLOURS = ("#fdf3dc", "#e9f2fd", "#eaf7ee", "#f6ecf9")
COLUMNS, ROWS_PER_LENGTH = 6, 3
# A first digit is one of nine, the others of ten, and the end of the answer costs nothing once the length is seen.


def guessing(lengths: Sequence[int]) -> float:
    """Loss of who has learned everything but to read."""
    return float(sum(np.log(9) + (length - 1) * np.log(10) for length in lengths) / sum(n + 1 for n in lengths))


def new_figure(width: float, height: float) -> "Figure":
    """A figure without a window, so that reports are drawn the same on a server and a laptop."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw_loss(records: Sequence[StepRecord], path: Path, lengths: Sequence[int] = LENGTHS) -> None:
    """Loss over steps, raw and smoothed, with the stages as bands, and what guessing costs; PNG."""
    figure = new_figure(8, 4)
    figure.text(0.08, 0.93, "Learning to read numbers in pictures", color=INK, fontsize=12, weight="bold")
    axes = figure.add_axes((0.08, 0.14, 0.89, 0.74))
    steps = np.array([record.step for record in records])
    losses = np.array([record.loss for record in records])
    axes.set(xlim=(0, steps[-1]), ylim=(0, losses.max() * 1.12))
    axes.set(xlabel="optimizer step", ylabel="loss (nats per learned token)")
    _draw_stages(axes, records)
    right = steps[-1] * 0.99
    guessed = guessing(lengths)
    axes.axhline(guessed, color=FAINT, lw=1, ls=(0, (4, 3)))
    axes.text(right, guessed, "length seen, digits guessed", color=FAINT, fontsize=8, ha="right", va="bottom")
    axes.plot(steps, losses, color=BLUE, alpha=0.25, lw=0.8)
    axes.plot(steps, smooth(losses), color=BLUE, lw=1.8)
    end = smooth(losses)[-1]
    axes.annotate(f"{end:.3f}", (right, end), (0, 6), textcoords="offset points", ha="right", color=BLUE, fontsize=9)
    _plain(axes)
    figure.savefig(path)


def _draw_stages(axes: "Axes", records: Sequence[StepRecord]) -> None:
    """A band for each stage; the name of a short one stands upright, for want of room."""
    top = axes.get_ylim()[1] * 0.985
    for number, stage in enumerate(dict.fromkeys(record.stage for record in records)):
        steps = [record.step for record in records if record.stage == stage]
        axes.axvspan(steps[0] - 1, steps[-1], color=STAGE_COLOURS[number % len(STAGE_COLOURS)], lw=0)
        tilt = 90 if len(steps) < 0.1 * len(records) else 0
        axes.text(steps[0] + 0.006 * len(records), top, stage, color=INK, fontsize=9, va="top", rotation=tilt)


def smooth(values: np.ndarray, decay: float = 0.9) -> np.ndarray:
    """Running mean with exponential forgetting, unbiased at the start."""
    mean, weight, out = 0.0, 0.0, np.empty(len(values))
    for index, value in enumerate(values):
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        out[index] = mean / weight
    return out


def draw_sheet(answers: Sequence[Answer], scores: Sequence[Score], path: Path) -> None:
    """The first held-out pictures of each length, none chosen, with the model's answers; PNG."""
    figure = new_figure(9, 8.2)
    figure.text(0.04, 0.955, "Held-out handwriting, read by greedy decoding", color=INK, fontsize=13, weight="bold")
    figure.text(
        0.04,
        0.93,
        "The first pictures of each length, none chosen. Red: wrong, and what it shows.",
        color=FAINT,
        fontsize=9,
    )
    height = 0.9 / len(scores)
    for block, score in enumerate(scores):
        shown = [answer for answer in answers if len(answer.number) == score.digits][: COLUMNS * ROWS_PER_LENGTH]
        bottom = 0.91 - (block + 1) * height
        figure.text(0.04, bottom + height - 0.03, f"{score.digits} digits", color=INK, fontsize=11, weight="bold")
        figure.text(
            0.14,
            bottom + height - 0.03,
            f"{score.accuracy:.1%} of {score.total} exactly right; guessing: {score.chance:.2%}",
            color=INK,
            fontsize=10,
        )
        for index, answer in enumerate(shown):
            row, column = divmod(index, COLUMNS)
            cell = (height - 0.045) / ROWS_PER_LENGTH
            axes = figure.add_axes(
                (0.04 + column * 0.155, bottom + height - 0.04 - (row + 1) * cell, 0.14, cell * 0.66)
            )
            _draw_answer(axes, answer)
    figure.savefig(path)


def _draw_answer(axes: "Axes", answer: Answer) -> None:
    from PIL import Image

    with Image.open(answer.picture) as picture:
        axes.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#d5dbe1")
    said = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in answer.said) or "nothing"
    words = said if answer.right else f"{said}  ({answer.number})"
    axes.set_title(
        words,
        color=RIGHT if answer.right else WRONG,
        fontsize=10,
        pad=3,
        family="monospace",
        weight="bold",
        parse_math=False,
    )


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis="y", color="white", lw=0.8)
