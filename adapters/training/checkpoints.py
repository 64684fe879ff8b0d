"""Where a run's checkpoints are: `RUN/checkpoints/step-00000040`, one folder each, there only when it is whole."""

import re
import shutil
from pathlib import Path

from attrs import frozen

from adapters.training.problems import TrainingError
from adapters.training.settings import Stage, Training

FOLDER = "checkpoints"
NAME = re.compile(r"step-(\d{8})")


@frozen
class CheckpointFolders:
    """The checkpoints of one run."""

    run_dir: Path

    def at(self, step: int) -> Path:
        """Folder of the checkpoint after `step` optimizer steps."""
        return self.run_dir / FOLDER / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps after which there is a checkpoint, ascending."""
        names = [NAME.fullmatch(path.name) for path in (self.run_dir / FOLDER).glob("step-*")]
        return sorted(int(name[1]) for name in names if name)

    def keep(self, count: int) -> None:
        """Remove all but the newest."""
        for step in self.steps()[:-count]:
            # Renamed first: a folder of this name is whole, or it is not there.
            leaving = self.at(step).with_name(f".leaving-{step:08d}")
            self.at(step).rename(leaving)
            shutil.rmtree(leaving)


def stage_of_step(settings: Training, step: int) -> tuple[int, Stage]:
    """The stage that took a step (counted over all stages from 1), and its index.

    Raises:
        TrainingError: the run's stages end before.
    """
    end = 0
    for index, stage in enumerate(settings.stages):
        end += stage.steps
        if step <= end:
            return index, stage
    raise TrainingError(f"stages: end after {end} steps, but the run folder has a checkpoint of step {step}.")
