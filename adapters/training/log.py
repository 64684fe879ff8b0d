"""What happened at every step: one record, written to every sink of the run; JSONL is always one of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from attrs import asdict, frozen


@frozen
class StepRecord:
    """One optimizer step.

    step: counted over all stages from 1; loss: mean per learned token of the global batch, nats; grad_norm: before
    clipping; tokens: real tokens of the global batch (padding not counted); seconds: since training began, or went on;
    peak_memory_gib: of rank 0 since it started, see `adapters.training.memory`; images: of the
    global batch.
    """

    step: int
    stage: str
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    samples_per_second: float
    peak_memory_gib: float
    seconds: float
    images: int = 0


CURVES = ("loss", "lr", "grad_norm", "tokens_per_second", "samples_per_second", "peak_memory_gib")
"""The fields that are worth a curve."""


class Sink(Protocol):
    """Somewhere to write records to."""

    def write(self, record: StepRecord) -> None:
        """Add one step."""

    def close(self) -> None:
        """No more steps."""


class RunLog:
    """All sinks of a run, none on the ranks that do not log; use as a context manager."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks = tuple(sinks)

    def write(self, record: StepRecord) -> None:
        """Add one step everywhere."""
        for sink in self.sinks:
            sink.write(record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sink in self.sinks:
            sink.close()


class Jsonl:
    """`log.jsonl`: one line a step, on disk when `write` returns, so that a run can be followed or cut short."""

    def __init__(self, path: Path, after: int = 0) -> None:
        """Go on after a step: later lines, which a run that was cut short left, will be written again; 0: anew."""
        kept = [record for record in read_log(path) if record.step <= after] if after else []
        fresh = path.with_suffix(".jsonl.new")  # never half a log: a run may be killed here too
        fresh.write_text("".join(map(_line, kept)), encoding="utf-8")
        fresh.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Add one line."""
        self._file.write(_line(record))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_log(folder: Path, *, after: int = 0, tensorboard: bool = False, wandb: str | None = None) -> RunLog:
    """The log of a run's folder; for rank 0.

    Args:
        folder: gets `log.jsonl`, and `tensorboard/` if asked for.
        after: the step of the checkpoint that the run goes on from; what the log holds of later ones is dropped.
        tensorboard: write for TensorBoard too.
        wandb: project of Weights & Biases to log to as well.

    Raises:
        TrainingError: a package for one of them is not installed.
    """
    from adapters.training.boards import TensorBoard, WeightsAndBiases

    folder.mkdir(parents=True, exist_ok=True)
    boards: list[Sink] = [WeightsAndBiases(folder, wandb)] if wandb else []
    if tensorboard:
        boards.append(TensorBoard(folder / "tensorboard", after))
    return RunLog([Jsonl(folder / "log.jsonl", after), *boards])


def read_log(path: Path) -> list[StepRecord]:
    """The steps of a `log.jsonl`, none without a file; a last line that a killed run did not finish is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [StepRecord(**json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def _line(record: StepRecord) -> str:
    return json.dumps(asdict(record)) + "\n"
