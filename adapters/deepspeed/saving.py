"""Checkpoints to resume from, in DeepSpeed's own form; they appear whole or not at all (`checkpoint_folder.py`).

FOLDER/deepspeed/…          DeepSpeed's: model, optimizer, progress
FOLDER/random-00000.pt      random states of each rank
FOLDER/spare-00000.pt       what each rank's idle towers run on
"""

from pathlib import Path
from typing import Any

import torch
from torch import distributed

from adapters import checkpoint_folder
from adapters.deepspeed.idle_towers import IdleTowers
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import random_state

TAG = "deepspeed"


def save(engine: Any, towers: IdleTowers, folder: Path, progress: dict[str, Any]) -> None:
    """Every rank writes its part; the checkpoint is complete when this returns.

    Args:
        engine: whose model and optimizer are saved.
        towers: of the model.
        folder: must not be there.
        progress: anything that pickles; rank 0's is kept.

    Raises:
        CheckpointError: `folder` is there already.
    """
    rank = distributed.get_rank()
    staged = [checkpoint_folder.stage(folder) if rank == 0 else None]
    distributed.broadcast_object_list(staged, src=0)
    (staging,) = staged
    assert staging is not None
    engine.save_checkpoint(str(staging), tag=TAG, client_state={"progress": progress})
    random_state.save_random(staging, rank)
    torch.save(towers.spare, _spare_file(staging, rank))
    distributed.barrier()
    if rank == 0:
        checkpoint_folder.publish(staging, folder)
    distributed.barrier()


def load(engine: Any, towers: IdleTowers, folder: Path) -> dict[str, Any]:
    """What `save` wrote, on as many ranks and with the same ZeRO stage; returns `progress`.

    Raises:
        CheckpointError: it is none of DeepSpeed, or of another number of ranks.
    """
    rank = distributed.get_rank()
    saved = len(list(folder.glob("spare-*.pt")))
    if saved != distributed.get_world_size():
        problem = f"was saved by {saved} ranks" if saved else "is not one of DeepSpeed"
        raise CheckpointError(
            folder, [f"{problem}; this is a run of DeepSpeed on {distributed.get_world_size()} ranks"]
        )
    _, found = engine.load_checkpoint(str(folder), tag=TAG)
    towers.spare = torch.load(_spare_file(folder, rank), weights_only=True)
    random_state.load_random(folder, rank)
    progress: dict[str, Any] = found["progress"]
    return progress


def _spare_file(folder: Path, rank: int) -> Path:
    return folder / f"spare-{rank:05d}.pt"
