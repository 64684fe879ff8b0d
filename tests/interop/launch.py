"""Scripts under torchrun, and the losses that Megatron-LM writes for TensorBoard."""

import os
import subprocess
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]


def torchrun(ranks: int, *words: object, cwd: Path = ROOT) -> str:
    """Standard output of a script or module on some ranks."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = subprocess.run(
        [*launcher, *map(str, words)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def losses(folder: Path) -> list[float]:
    """Of every step; float32 as they were computed."""
    events = EventAccumulator(str(folder)).Reload()
    return [event.value for event in events.Scalars("lm loss")]
