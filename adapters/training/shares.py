"""What the loop must know of other processes: who speaks, and sums over shares of a global batch."""

import os

import torch
from torch import distributed

from adapters.training.engine import Engine
from adapters.training.problems import TrainingError
from adapters.training.settings import Training


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


def check_processes(settings: Training) -> None:
    """Whether the layout and the batches fit the number of processes.

    Raises:
        TrainingError: with all problems at once.
    """
    processes, layout = int(os.environ.get("WORLD_SIZE", "1")), settings.layout
    problems = []
    if processes % layout.model_ranks:
        problems.append(
            f"layout: tp {layout.tp} × pp {layout.pp} × cp {layout.cp} is {layout.model_ranks}, which does not divide "
            f"the {processes} processes."
        )
    elif processes // layout.pp % (layout.ep * layout.etp):
        problems.append(
            f"layout: ep {layout.ep} × etp {layout.etp} does not divide the {processes // layout.pp} ranks of a stage."
        )
    else:
        shares = processes // layout.model_ranks
        each, rest = divmod(settings.global_batch, settings.micro_batch * shares)
        if rest:
            problems.append(
                f"global_batch: {settings.global_batch} is no multiple of {settings.micro_batch * shares}: micro_batch "
                f"{settings.micro_batch} × {shares} data ranks."
            )
        elif layout.virtual_stages > 1 and each % layout.pp:
            problems.append(
                f"global_batch: makes {each} micro-batches for each data rank; with virtual stages that must be a "
                f"multiple of layout.pp {layout.pp}."
            )
    if problems:
        raise TrainingError(problems)
