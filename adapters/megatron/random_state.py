"""Random number generators of one rank, as a checkpoint keeps them."""

import random
import zlib
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import get_cuda_rng_tracker, model_parallel_cuda_manual_seed

from adapters.checkpoint_folder import sync

SEEDS_OF_A_STAGE, SEEDS_OF_EXPERTS = 100, 10_000


def file_of(folder: Path, rank: int) -> Path:
    """Where a rank's generators lie in a checkpoint."""
    return folder / f"random-{rank:05d}.pt"


def save_random(folder: Path, rank: int) -> None:
    """Write Python's, torch's, the device's and Megatron-Core's generators of this rank; numpy is not used to train."""
    tracker: Any = get_cuda_rng_tracker()
    states = {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(),
        "megatron": tracker.get_states(),
    }
    torch.save(states, file_of(folder, rank))
    sync(file_of(folder, rank))


def load_random(folder: Path, rank: int) -> None:
    """Continue this rank's generators where they were saved."""
    states: dict[str, Any] = torch.load(file_of(folder, rank), weights_only=True)
    tracker: Any = get_cuda_rng_tracker()
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    tracker.set_states(states["megatron"])
    torch.cuda.set_rng_state(states["device"])


def seed_from_now() -> int:
    """A seed that follows from the current state of torch's generator, and leaves it as it is."""
    return zlib.crc32(torch.get_rng_state().numpy().tobytes())


def seed_random(seed: int) -> None:
    """Start all generators of this rank anew.

    Tensor- and data-parallel copies of a parameter draw the same numbers; layers of two pipeline stages and experts of
    two ranks must not. Megatron-Core keeps tensor-parallel ranks and experts apart itself where it draws on a device.
    """
    stage = SEEDS_OF_A_STAGE * parallel_state.get_pipeline_model_parallel_rank()
    random.seed(seed)
    model_parallel_cuda_manual_seed(seed + stage)
    torch.manual_seed(seed + stage + SEEDS_OF_EXPERTS * parallel_state.get_expert_model_parallel_rank())
