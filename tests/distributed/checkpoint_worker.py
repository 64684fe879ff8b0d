"""One of two ranks: saves in every layout, and loads what another one saved.

`torchrun --nproc-per-node 2 -m tests.distributed.checkpoint_worker FOLDER` with what `test_checkpoints.py` put there.
"""

import gc
import sys
from pathlib import Path

import psutil
import pytest
import torch
from attrs import evolve
from torch import distributed

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import checkpoint, runtime
from tests.distributed import checkpoint_faults
from tests.distributed.checkpoint_cases import (
    FAULTS,
    FURTHER,
    ONE,
    RESHARDED,
    RESUMED,
    SAVED,
    SOURCES,
    START,
    STARTS,
    Case,
    Hop,
)
from tests.distributed.checkpoint_run import Run, checkpoint_of


def write(case: Case, folder: Path) -> None:
    """Go on from what one rank saved, save, go on. Every other case saves in the background."""
    run = Run(case, _batches(case, folder), seed=1)
    start = evolve(ONE[case.variant], shared=case.shared)
    optimizer = None if case.trains else run.optimizer  # of other parameters than the one that was saved
    checkpoint.load(checkpoint_of(folder, start, START), run.stages, optimizer)
    found = {"loaded": run.tensors()}
    found["first_loss"] = run.step(SAVED)
    found["saved"] = run.tensors()
    in_background = SOURCES.index(case) % 2 == 0
    target = checkpoint_of(folder, case, SAVED)
    checkpoint.save(target, run.stages, run.optimizer, {"step": SAVED}, asynchronous=in_background)
    found["early"] = in_background and target.exists()
    found["losses"] = [run.step(SAVED + 1)]
    found["next"] = run.tensors()
    checkpoint.finish_save()
    found["complete"] = target.exists()
    found["children"] = [child.name() for child in psutil.Process().children(recursive=True)]
    with pytest.raises(CheckpointError, match="is there already"):
        checkpoint.save(target, run.stages, run.optimizer, {})
    found["losses"] += [run.step(SAVED + 1 + more) for more in range(1, FURTHER)]
    _report(found, folder, case.id)


def read(hop: Hop, folder: Path) -> None:
    """Load what another layout saved into other weights, and go on: one step, or as many as the source made."""
    step = START if hop.source in STARTS else SAVED
    run = Run(hop.target, _batches(hop.target, folder), seed=2)
    with checkpoint_faults.loading(hop.fault):
        progress = checkpoint.load(checkpoint_of(folder, hop.source, step), run.stages, run.optimizer)
    found = {"progress": progress, "loaded": run.tensors()}
    found["losses"] = [run.step(step + 1)]
    found["next"] = run.tensors()
    if hop.source == hop.target:
        found["losses"] += [run.step(step + 1 + more) for more in range(1, FURTHER)]
    _report(found, folder, hop.id)


def _batches(case: Case, folder: Path) -> list:
    return torch.load(folder / f"{case.variant}.pt", weights_only=True)


def _report(found: dict, folder: Path, name: str) -> None:
    torch.save(found, folder / f"{name}.{distributed.get_rank()}.pt")
    runtime.leave()


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # Megatron-Core collects garbage in each save and load; not among all modules
    for source in SOURCES:
        write(source, Path(sys.argv[1]))
    for each in (*RESUMED, *RESHARDED, *FAULTS):
        read(each, Path(sys.argv[1]))
