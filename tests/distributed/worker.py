"""The worker of the proofs, told to break some cases: `torchrun … -m tests.distributed.worker FOLDER`."""

import sys
from pathlib import Path

import torch

from adapters.huggingface.composed_tensors import rank_tensors
from adapters.prove.layouts import worker
from adapters.prove.layouts.job import read_alone, read_cases
from tests.distributed import faults
from tests.distributed.layouts import FAULTS
from tests.distributed.reading import counting


def run(case, fault, folder):
    with faults.importing(fault), counting() as read:
        stages = worker.start(case, folder)
    faults.break_model(fault, stages[0])
    alone = read_alone(folder / case.variant)
    own = faults.break_batches(fault, stages[0], worker.own_batches(alone))
    with faults.turning(fault):
        found = worker.prove(case, stages, alone, own)
    found["read"] = read[0]
    found["held"] = sum(tensor.nbytes for stage in stages for tensor in rank_tensors(stage).values())
    worker.write(case, folder, found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    faulty = {case.id: fault for case, fault, _ in FAULTS}
    for each in read_cases(Path(sys.argv[1])):
        run(each, faulty.get(each.id), Path(sys.argv[1]))
