"""Curves in a browser: TensorBoard on request, Weights & Biases through the extra `wandb`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adapters.training.log import CURVES, StepRecord
from adapters.training.problems import TrainingError


class TensorBoard:
    """Event files in a folder; a run that goes on hides what was written after its checkpoint."""

    def __init__(self, folder: Path, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def write(self, record: StepRecord) -> None:
        """Add a point to every curve."""
        for name in CURVES:
            self._writer.add_scalar(f"train/{name}", getattr(record, name), record.step)

    def close(self) -> None:
        """Write out what is buffered."""
        self._writer.close()


class WeightsAndBiases:
    """A run of a project; its id stays in the folder, so that a run that goes on stays one run there too.

    WANDB_MODE=offline works without a network, into `wandb/` of the folder. Steps that are computed again after a
    restart are the same numbers; Weights & Biases keeps the first.
    """

    def __init__(self, folder: Path, project: str) -> None:
        check_wandb()
        import wandb  # pyright: ignore[reportMissingImports] (an extra)

        place = folder / "wandb-id.txt"
        known = place.read_text(encoding="utf-8") if place.exists() else None
        self._run: Any = wandb.init(project=project, dir=str(folder), name=folder.name, id=known, resume="allow")
        place.write_text(self._run.id, encoding="utf-8")

    def write(self, record: StepRecord) -> None:
        """Add a point to every curve."""
        self._run.log({f"train/{name}": getattr(record, name) for name in CURVES}, step=record.step)

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


def check_wandb() -> None:
    """Say so before anything starts if Weights & Biases is not installed.

    Raises:
        TrainingError: it is not; says how to install it.
    """
    if find_spec("wandb") is None:
        raise TrainingError("logging to Weights & Biases needs its package: pip install 'vlm-composer[wandb]'.")
