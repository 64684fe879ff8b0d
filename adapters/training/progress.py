"""A bar with loss, tokens per second and time left; plain lines where the output is no terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adapters.training.log import StepRecord
from adapters.training.settings import Stage

PLAIN_LINES = 10


class StageProgress:
    """Shows one stage; use as a context manager and call `show` after every step."""

    def __init__(self, console: Console, stage: Stage) -> None:
        self.console, self.stage = console, stage
        self._loss: float | None = None
        self._shown = 0
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
        """Show the state after `done` steps of the stage; the loss shown is a running mean."""
        self._loss = record.loss if self._loss is None else 0.9 * self._loss + 0.1 * record.loss
        loss, rate = f"{self._loss:.3f}", f"{speed:,.0f}"
        self._bar.update(self._task, completed=done, loss=loss, speed=rate)
        if self.console.is_terminal:
            return
        due = done * PLAIN_LINES // self.stage.steps
        if due > self._shown or done == 1:
            self._shown = due
            self.console.print(
                f"{self.stage.name}: step {done}/{self.stage.steps}, loss {loss}, {rate} tokens/s, {left_s:.0f} s left"
            )
