"""All ranks of a run doing one thing together, through host memory, whatever the training backend is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, distributed

from adapters.huggingface.checkpoint_error import CheckpointError

WAIT = timedelta(hours=12)
"""How long ranks wait for one that lives and writes; one that died is noticed at once."""


@frozen
class Ranks:
    """This rank among all of them; rank 0 writes.

    The group is gloo's: blocks on their way to a file need no GPU memory and no communicator of NCCL for every pair.
    """

    rank: int
    size: int
    group: Any = None

    @contextmanager
    def together(self, source: str | Path) -> Iterator[None]:
        """What goes wrong in the block on any rank is raised on all, so that none waits for another.

        Raises:
            CheckpointError: several ranks: all that went wrong, and where. One rank raises what it raised.
        """
        failure = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 (other ranks must hear of anything)
            failure = error
        if self.size == 1:
            if failure is not None:
                raise failure
            return
        if problems := self._problems(failure):
            raise CheckpointError(source, problems) from failure

    def _problems(self, failure: Exception | None) -> list[str]:
        mine: tuple[str, ...] = ()
        if failure is not None:
            mine = (
                failure.problems if isinstance(failure, CheckpointError) else (f"{type(failure).__name__}: {failure}",)
            )
        told: list[Any] = [None] * self.size
        distributed.all_gather_object(told, mine, group=self.group)
        ranks: dict[str, list[int]] = {}
        for rank, problems in enumerate(told):
            for problem in problems:
                ranks.setdefault(problem, []).append(rank)
        return [
            problem if len(found) == self.size else f"rank {', '.join(map(str, found))}: {problem}"
            for problem, found in ranks.items()
        ]

    def gather(self, value: Any) -> list[Any]:
        """What every rank gave, on rank 0; nothing elsewhere."""
        if self.size == 1:
            return [value]
        gathered = [None] * self.size if self.rank == 0 else None
        distributed.gather_object(value, gathered, dst=0, group=self.group)
        return gathered or []

    def from_first(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def send(self, block: Tensor) -> None:
        """A block of bytes on the CPU to rank 0; returns when it has taken it."""
        distributed.send(block, dst=0, group=self.group)

    def receive(self, rank: int, num_bytes: int) -> Tensor:
        """The next block of a rank: [bytes] uint8 on the CPU."""
        block = torch.empty(num_bytes, dtype=torch.uint8)
        distributed.recv(block, src=rank, group=self.group)
        return block


@contextmanager
def all_ranks(alone: bool = False) -> Iterator[Ranks]:
    """Every rank of the run, or this one `alone` though there may be others, for the length of a block."""
    if alone or not distributed.is_initialized() or distributed.get_world_size() == 1:
        yield Ranks(0, 1)
        return
    group: Any = distributed.new_group(backend="gloo", timeout=WAIT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), group)
    finally:
        distributed.destroy_process_group(group)
