"""The command line, with one rank of it failing at one step: what a launcher starts instead of `adapters.cli`.

TEST_FAULT is `kind:step:file`: rank 1, before it computes the step and if `file` is not there yet, is killed (`kill`),
raises (`raise`), or gets a parameter that is no number (`nan`), in the last of its decoder layers. With `--nproc` this
module starts ranks of its own kind.
"""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from adapters.cli.app import main
from adapters.training import launch, loop

KIND, STEP, MARK = os.environ["TEST_FAULT"].split(":")
POISONED = "self_attention.linear_proj.weight"
train_step = loop.Trainer.train_step


def failing(trainer: loop.Trainer, *args: Any) -> Any:
    mark = Path(MARK)
    if os.environ["RANK"] == "1" and trainer.step + 1 == int(STEP) and not mark.exists():
        time.sleep(1)  # the others are inside the step's collectives by now
        mark.write_text(str(time.time()))
        fail(trainer)
    return train_step(trainer, *args)


def fail(trainer: loop.Trainer) -> None:
    if KIND == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if KIND == "raise":
        raise ArithmeticError("planted on rank 1")
    engine: Any = trainer.engine
    with torch.no_grad():
        engine.models[-1].language_model.decoder.layers[-1].get_parameter(POISONED)[0, 0] = torch.nan


if __name__ == "__main__":
    loop.Trainer.train_step = failing  # type: ignore[method-assign]
    launch.start_ranks = partial(launch.start_ranks, entry=("-u", "-m", "tests.adapters.training.failing_rank"))
    main()
