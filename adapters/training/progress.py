"""A bar with loss, tokens per second and time left; a line a step where the output is no terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adapters.training.log import StepRecord
from adapters.training.settings import Stage


class StageProgress:
    """Shows one stage; use as a context manager and call `show` after every step.

    `every` is how many steps apart printed lines are, where the output is no terminal.
    """

    def __init__(self, console: Console, stage: Stage, every: int = 1) -> None:
        self.console, self.stage, self.every = console, stage, every
        self._loss: float | None = None
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss [cyan]{task.fields[loss]}"),
            TextColumn("[magenta]{task.fields[speed]}[/] tokens/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(stage.name, total=stage.steps, loss="–", speed="–")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, done: int, record: StepRecord, speed: float, left_s: float) -> None:
        """Show the state after `done` steps of the stage; the bar's loss is a running mean, a line's is the step's."""
        self._loss = record.loss if self._loss is None else 0.9 * self._loss + 0.1 * record.loss
        self._bar.update(self._task, completed=done, loss=f"{self._loss:.3f}", speed=f"{speed:,.0f}")
        if self.console.is_terminal or not (done % self.every == 0 or done in {1, self.stage.steps}):
            return
        self.console.print(
            f"{self.stage.name}: step {done}/{self.stage.steps}, loss {record.loss:.4f}, lr {record.lr:.2e}, "
            f"gradient norm {record.grad_norm:.3f}, {record.tokens_per_second:,.0f} tokens/s, "
            f"{record.samples_per_second:,.1f} samples/s, {record.peak_memory_gib:.2f} GiB, {left_s:.0f} s left",
            highlight=False,
            soft_wrap=True,
        )
