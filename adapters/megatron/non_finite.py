"""Where NaN or infinity first appears: a step's micro-batches run once more, one at a time, every module watched.

Nothing is watched in training itself. "First" is: the first micro-batch; in it the forward pass before the backward
pass; there the pipeline stages in the order they compute, and in a stage the order of execution. All stages of all
ranks are watched, and the ranks agree on one finding.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from attrs import frozen
from megatron.core import parallel_state
from torch import distributed, nn

from adapters.megatron.schedule import MicroBatch, forward_backward
from adapters.megatron.watch import Event, Watch

Run = Callable[[Sequence[nn.Module], Sequence[MicroBatch]], object]


@frozen
class Finding:
    """Where a number first stopped being finite.

    rank: global; micro_batch: index among those of `rank`, from 0; node: of the spec; module: path in the model,
    decoder layers counted over all pipeline stages from 0; kind: what is wrong: `output`, `input <argument>`, or
    `parameter <name>`; in the backward pass that of which the gradient is wrong.
    """

    rank: int
    micro_batch: int
    node: str
    module: str
    direction: Literal["forward", "backward"]
    kind: str

    def __str__(self) -> str:
        what = f"gradient of {self.kind}" if self.direction == "backward" else self.kind
        return f"micro-batch {self.micro_batch + 1}, rank {self.rank}, node {self.node}: {what} of {self.module}"


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
    distributed.all_gather_object(everyone, own)
    found = [(key, rank, event) for rank, events in enumerate(everyone) for key, event in events]
    if not found:
        return None
    key, rank, event = min(found, key=lambda entry: entry[:2])
    node = event.module.partition(".")[0]
    return Finding(rank, micro_batch, node, event.module, "backward" if key[0] else "forward", event.kind)
