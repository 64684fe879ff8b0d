"""The same order of collectives on every data-parallel rank, whatever each has in its batch.

Megatron-Core sends a bucket's gradients as soon as they are there, and fetches parameters when a module first needs
them. A rank without images comes to the buckets of a tower at another time than one with images, or never; and ranks
that send different things at the same time wait for ever, or take one for the other.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from megatron.core.distributed import DistributedDataParallel


class GradientOrder:
    """Lets bucket groups go one after the other: one that is ready early waits for those before it."""

    def __init__(self, groups: Sequence[Any]) -> None:
        """groups: of one wrapper and one process group, in the order in which they go."""
        self._starts = [group.start_grad_sync for group in groups]
        self._ready: dict[int, dict[str, Any]] = {}
        self._next = 0
        for index, group in enumerate(groups):
            group.start_grad_sync = partial(self._arrive, index)

    def _arrive(self, index: int, **arguments: Any) -> None:
        self._ready[index] = arguments
        while self._next in self._ready:
            self._starts[self._next](**self._ready.pop(self._next))
            self._next += 1
        if self._next == len(self._starts):
            self._next = 0


def order_gradients(stage: DistributedDataParallel) -> None:
    """Give both kinds of bucket groups, of experts and of the rest, their order."""
    for groups in (stage.bucket_groups, stage.expert_parallel_bucket_groups):
        GradientOrder(groups)


def fetch_parameters(stages: Sequence[DistributedDataParallel]) -> None:
    """Ask for all parameters, in order, before a batch is looked at; each module waits for its own."""
    for stage in stages:
        for group in _groups(stage):
            group.next_param_gather_bucket_group = None  # nobody else asks
            group.start_param_sync()


def await_parameters(stages: Sequence[DistributedDataParallel]) -> None:
    """Wait for those that no module has waited for: nothing in the batch needed them."""
    for stage in stages:
        for group in _groups(stage):
            if group.param_gather_handle is not None:
                group.start_param_sync(force_sync=True)  # which waits for the one under way


def _groups(stage: DistributedDataParallel) -> list[Any]:
    return [*stage.bucket_groups, *stage.expert_parallel_bucket_groups] if stage.use_forward_hook else []
