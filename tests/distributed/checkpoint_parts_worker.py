"""One of two ranks: reads what one rank saved of a model with some part, and saves it in a layout of its own.

`torchrun --nproc-per-node 2 -m tests.distributed.checkpoint_parts_worker FOLDER`, a folder for each part in it.
"""

import sys
from pathlib import Path

import torch

from adapters.megatron import checkpoint, runtime
from tests.distributed.checkpoint_cases import Case
from tests.distributed.checkpoint_run import Run
from tests.distributed.export_layouts import SP

LAYOUTS = {
    "expert_sets": (Case("ep2", "expert_sets", {"ep": 2}), Case("tp2sp", "expert_sets", {"tp": 2}, SP)),
    "delta_net": (Case("tp2sp", "delta_net", {"tp": 2}, SP),),
    "latent": (Case("tp2sp", "latent", {"tp": 2}, SP),),
    "tiles": (Case("tp2", "tiles", {"tp": 2}),),
}


def place(folder: Path, case: Case) -> Path:
    return folder / case.id / "step-00000001"


def save(case: Case, folder: Path, seed: int) -> Run:
    run = Run(case, [], seed)
    if seed:
        checkpoint.load(place(folder, Case("one", case.variant, {})), run.stages, run.optimizer)
    checkpoint.save(place(folder, case), run.stages, run.optimizer, {})
    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    for cases in LAYOUTS.values():
        for case in cases:
            save(case, Path(sys.argv[1]), seed=1)
            runtime.leave()
