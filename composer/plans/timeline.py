"""When each rank of a pipeline computes what: Megatron-Core's 1F1B schedules, played through with given times.

Messages between stages take no time here, and a rank starts what comes next as soon as what it needs is there. The
order of work on each rank is that of `megatron/core/pipeline_parallel/schedules.py` (0.19), also with virtual stages
(interleaved, groups of as many micro-batches as there are pipeline ranks).
"""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

Direction = Literal["forward", "backward"]


@frozen
class StageTime:
    """Seconds that a pipeline stage takes for one micro-batch. backward: with what is computed again in it."""

    rank: int
    virtual: int
    forward: float
    backward: float


@frozen
class Work:
    """One micro-batch in one direction through one stage of a rank."""

    direction: Direction
    micro_batch: int
    virtual: int


@frozen
class Span:
    """Work and when it is done, in seconds from the start of the step."""

    start: float
    end: float
    work: Work


@frozen
class Timeline:
    """The spans of every pipeline rank, in the order in which the rank works."""

    ranks: tuple[tuple[Span, ...], ...]

    @property
    def total(self) -> float:
        """Seconds until the last rank is done."""
        return max(spans[-1].end for spans in self.ranks)

    def busy(self, rank: int) -> float:
        """Seconds that a rank computes."""
        return sum(span.end - span.start for span in self.ranks[rank])

    def bubble(self, rank: int) -> float:
        """Time that a rank waits over time that it computes: (pp - 1) / (virtual stages · micro-batches) if equal."""
        busy = self.busy(rank)
        return (self.total - busy) / busy if busy else 0.0


def equal_stages(pipeline_ranks: int, virtual_stages: int, backward: float = 2.0) -> tuple[StageTime, ...]:
    """Stages that all take the same time, their forward pass 1 / virtual_stages seconds."""
    share = 1.0 / virtual_stages
    return tuple(
        StageTime(rank, virtual, share, share * backward)
        for virtual in range(virtual_stages)
        for rank in range(pipeline_ranks)
    )


def order_of_work(pipeline_ranks: int, virtual_stages: int, micro_batches: int, rank: int) -> tuple[Work, ...]:
    """What a pipeline rank does: forward passes ahead, then one forward, one backward in turn, then what is left.

    Raises:
        ValueError: virtual stages, and micro-batches that are no multiple of the pipeline ranks.
    """
    if virtual_stages > 1 and micro_batches % pipeline_ranks:
        raise ValueError(
            f"{micro_batches} micro-batches are no multiple of {pipeline_ranks} pipeline ranks, which virtual stages "
            "need"
        )
    count = micro_batches * virtual_stages
    ahead = pipeline_ranks - rank - 1
    if virtual_stages > 1:
        ahead = 2 * ahead + (virtual_stages - 1) * pipeline_ranks
    ahead = min(ahead, count)
    forward = [Work("forward", *place) for place in _turns(pipeline_ranks, virtual_stages, micro_batches)]
    backward = [Work("backward", work.micro_batch, virtual_stages - 1 - work.virtual) for work in forward]
    pairs = zip(forward[ahead:], backward, strict=False)
    return (*forward[:ahead], *(work for pair in pairs for work in pair), *backward[count - ahead :])


def _turns(pipeline_ranks: int, virtual_stages: int, micro_batches: int) -> Iterator[tuple[int, int]]:
    """(micro-batch, virtual stage): a group of micro-batches goes through all virtual stages before the next group."""
    group = pipeline_ranks if virtual_stages > 1 else micro_batches
    for first in range(0, micro_batches, group):
        for virtual in range(virtual_stages):
            yield from ((number, virtual) for number in range(first, min(first + group, micro_batches)))


def play(stages: tuple[StageTime, ...], micro_batches: int) -> Timeline:
    """The timeline of one step.

    Args:
        stages: every stage of every pipeline rank, in any order.
        micro_batches: of one replica.

    Raises:
        ValueError: stages are missing or there twice, or the schedule cannot run so many micro-batches.
    """
    times = {(stage.virtual, stage.rank): stage for stage in stages}
    ranks = 1 + max((stage.rank for stage in stages), default=-1)
    virtuals = 1 + max((stage.virtual for stage in stages), default=-1)
    if not stages or len(times) != len(stages) or len(times) != ranks * virtuals:
        raise ValueError(f"{len(stages)} stages are not the {ranks} × {virtuals} of the pipeline")
    orders = [order_of_work(ranks, virtuals, micro_batches, rank) for rank in range(ranks)]
    spans: list[list[Span]] = [[] for _ in orders]
    done: dict[_Pass, float] = {}
    while any(len(own) < len(order) for own, order in zip(spans, orders, strict=True)):
        before = len(done)
        for rank, order in enumerate(orders):
            own, free = spans[rank], spans[rank][-1].end if spans[rank] else 0.0
            while len(own) < len(order):
                work = order[len(own)]
                needs = _needs(rank, work, ranks, virtuals)
                if not all(need in done for need in needs):
                    break
                start = max(free, *(done[need] for need in needs), 0.0)
                stage = times[work.virtual, rank]
                free = start + (stage.forward if work.direction == "forward" else stage.backward)
                own.append(Span(start, free, work))
                done[work.direction, work.virtual * ranks + rank, work.micro_batch] = free
        if len(done) == before:
            raise RuntimeError("the schedule waits for itself")
    return Timeline(tuple(map(tuple, spans)))


_Pass = tuple[Direction, int, int]
"""Direction, stage in the order of the model, micro-batch."""


def _needs(rank: int, work: Work, ranks: int, virtuals: int) -> tuple[_Pass, ...]:
    """What must be done before: the stage before; in the backward pass the one behind, and the own forward pass."""
    stage, micro_batch = work.virtual * ranks + rank, work.micro_batch
    if work.direction == "forward":
        return (("forward", stage - 1, micro_batch),) if stage else ()
    own: _Pass = ("forward", stage, micro_batch)
    return (own,) if stage == ranks * virtuals - 1 else (own, ("backward", stage + 1, micro_batch))
