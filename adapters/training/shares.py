"""What the loop must know of other processes: who speaks, and sums over shares of a global batch."""

import os

import torch
from torch import distributed

from adapters.training.engine import Engine


def is_first() -> bool:
    """Whether this process writes logs and prints; also before processes have joined."""
    return os.environ.get("RANK", "0") == "0"


def sum_over_shares(count: int, engine: Engine) -> int:
    """Sum of what each data rank counts in its share; ranks that read the same share count once."""
    if engine.data_ranks == 1:
        return count
    total = torch.tensor(count, device=torch.cuda.current_device())
    distributed.all_reduce(total)
    return int(total) * engine.data_ranks // distributed.get_world_size()


def agreed[T](value: T) -> T:
    """The first process's value, on every process."""
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]
