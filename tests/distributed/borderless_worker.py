"""The worker of the proofs, whose ranks take packed documents for one document."""

import os
import sys
from pathlib import Path

from adapters.prove.layouts import worker
from adapters.prove.layouts.job import read_alone, read_cases
from tests.distributed.faults import break_batches

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for case in read_cases(folder):
        if case.named.ranks == int(os.environ["WORLD_SIZE"]):
            stages = worker.start(case, folder)
            alone = read_alone(folder / case.variant)
            own = break_batches("borders_lost", stages[0], worker.own_batches(alone))
            worker.write(case, folder, worker.prove(case, stages, alone, own))
