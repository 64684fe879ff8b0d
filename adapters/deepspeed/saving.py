"""Checkpoints to resume from, in DeepSpeed's own form."""

from pathlib import Path
from typing import Any

import deepspeed
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch import distributed

TAG = "deepspeed"


def save(engine: deepspeed.DeepSpeedEngine, folder: Path, progress: dict[str, Any]) -> None:
    """Every rank writes its part; all are complete when this returns.

    Args:
        engine: whose model, optimizer and random states are saved.
        folder: made if absent.
        progress: anything that pickles; rank 0's is kept.
    """
    engine.save_checkpoint(str(folder), tag=TAG, client_state={"progress": progress})
    torch.save(_random_states(), _random_file(folder))
    distributed.barrier()


def load(engine: deepspeed.DeepSpeedEngine, folder: Path) -> dict[str, Any]:
    """What `save` wrote, on as many ranks and with the same ZeRO stage; returns `progress`.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    if not _random_file(folder).is_file():
        raise FileNotFoundError(f"{folder}: no DeepSpeed checkpoint of this number of ranks")
    _, found = engine.load_checkpoint(str(folder), tag=TAG)
    states = torch.load(_random_file(folder), weights_only=True)
    torch.set_rng_state(states["cpu"])
    torch.cuda.set_rng_state(states["device"])
    get_cuda_rng_tracker().set_states(states["tracker"])
    progress: dict[str, Any] = found["progress"]
    return progress


def _random_states() -> dict[str, Any]:
    return {
        "cpu": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(),
        "tracker": get_cuda_rng_tracker().get_states(),
    }


def _random_file(folder: Path) -> Path:
    return folder / f"random-{distributed.get_rank():05d}-of-{distributed.get_world_size():05d}.pt"
