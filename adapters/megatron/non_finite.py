"""Where NaN or infinity first appears: a step's micro-batches run once more, one at a time, every module watched.

Nothing is watched in training itself. "First" is: the first micro-batch; in it the forward pass before the backward
pass; there the pipeline stages in the order they compute, and in a stage the order of execution. All stages of all
ranks are watched, and the ranks agree on one finding.
"""

from collections.abc import Callable, Sequence
from typing import Any

from megatron.core import parallel_state
from torch import distributed, nn

from adapters.megatron.schedule import MicroBatch, forward_backward
from adapters.megatron.watch import Event, Watch
from adapters.training.problems import Finding

Run = Callable[[Sequence[Any], Sequence[MicroBatch]], object]


def locate(
    stages: Sequence[nn.Module], micro_batches: Sequence[MicroBatch], run: Run = forward_backward
) -> Finding | None:
    """Find the first module that makes or gets a number that is not finite. Collective: every rank calls it.

    Gradients are overwritten, parameters are not.

    Args:
        stages: this rank's pipeline stages, in order, as `run` takes them: wrapped for data parallelism or not.
        micro_batches: of this rank, as in the step; as many on every rank.
        run: forward and backward of some micro-batches; by default Megatron-Core's schedules.

    Returns:
        The same on every rank; None if it did not happen again: what went wrong is then random (dropout, hardware), or
        only a sum over finite numbers (the norm).
    """
    # An interleaved schedule takes micro-batches by the number of pipeline ranks: the same one, as often.
    times = parallel_state.get_pipeline_model_parallel_world_size() if len(stages) > 1 else 1
    for index, batch in enumerate(micro_batches):
        watches = [Watch(stage) for stage in stages]
        try:
            run(stages, [batch] * times)
        finally:
            for watch in watches:
                watch.remove()
        if (finding := _agree(watches, index)) is not None:
            return finding
    return None


def _agree(watches: Sequence[Watch], micro_batch: int) -> Finding | None:
    """The first event of all ranks in the order of computation."""
    pipeline_rank = parallel_state.get_pipeline_model_parallel_rank()
    pipeline_size = parallel_state.get_pipeline_model_parallel_world_size()
    own: list[tuple[tuple[int, ...], Event]] = []
    for chunk, watch in enumerate(watches):
        place = chunk * pipeline_size + pipeline_rank
        if watch.forward is not None:
            own.append(((0, place, watch.forward.order), watch.forward))
        if watch.backward is not None:
            own.append(((1, -place, watch.backward.order), watch.backward))
    everyone: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everyone, (parallel_state.get_data_parallel_rank(), own))
    found = [(key, rank, share, event) for rank, (share, events) in enumerate(everyone) for key, event in events]
    if not found:
        return None
    key, rank, share, event = min(found, key=lambda entry: entry[:2])
    node = event.module.partition(".")[0]
    return Finding(rank, share, micro_batch, node, event.module, "backward" if key[0] else "forward", event.kind)
