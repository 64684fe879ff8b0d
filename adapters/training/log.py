"""What happened at every step: JSONL always, TensorBoard beside it."""

import json
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from attrs import asdict, frozen


@frozen
class StepRecord:
    """One optimizer step.

    step: counted over all stages from 1; loss: mean per learned token, nats; grad_norm: before clipping; tokens: real
    tokens of the step (padding not counted); seconds: since training began.
    """

    step: int
    stage: str
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    seconds: float


class RunLog:
    """Writes `log.jsonl` and a `tensorboard` folder into a run's folder; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        from torch.utils.tensorboard import SummaryWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = (self.folder / "log.jsonl").open("w", encoding="utf-8")
        self._board = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()

    def write(self, record: StepRecord) -> None:
        """Add one step; the line is on disk when this returns, so that a run can be followed or cut short."""
        if self._file is None:
            raise RuntimeError("the log is not open")
        self._file.write(json.dumps(asdict(record)) + "\n")
        self._file.flush()
        for name in ("loss", "lr", "grad_norm", "tokens_per_second"):
            self._board.add_scalar(f"train/{name}", getattr(record, name), record.step)


def read_log(path: Path) -> list[StepRecord]:
    """The steps of a `log.jsonl`."""
    return [StepRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
