"""The command line, with one rank of it failing at one step: what a launcher starts instead of `adapters.cli`.

TEST_FAULT is `kind:step:file`: `kill` or `raise` on rank 1, before it computes the step, if `file` is not there yet.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from adapters.cli.app import main
from adapters.training import loop

KIND, STEP, MARK = os.environ["TEST_FAULT"].split(":")
train_step = loop.Trainer.train_step


def failing(trainer: loop.Trainer, *args: Any) -> Any:
    mark = Path(MARK)
    if os.environ["RANK"] == "1" and trainer.step + 1 == int(STEP) and not mark.exists():
        time.sleep(1)  # the others are inside the step's collectives by now
        mark.write_text(str(time.time()))
        if KIND == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ArithmeticError("planted on rank 1")
    return train_step(trainer, *args)


if __name__ == "__main__":
    loop.Trainer.train_step = failing  # type: ignore[method-assign]
    main()
