"""The fastest execution that fits: branch and bound over frames, so that none of the space is left out.

A frame's lower bound on step time is never above that of any execution in it. Frames are opened in the order of their
bounds, until the next bound is above the last place among the best: what is still closed cannot win a place.
"""

from collections.abc import Iterable
from typing import Protocol

from attrs import define, field, frozen

from composer.plans.answer import Estimate, RankMemory
from composer.plans.execution import Execution
from composer.plans.search.space import Frame
from composer.plans.search.uncollected import uncollected

PLACES = 4
"""The best and the next three."""
MISSES = 300
"""Executions that do not fit, smallest first, that are timed to say what memory costs."""


class Judge(Protocol):
    """What is known of executions."""

    limit: int
    """Bytes that one GPU may hold."""

    def memory(self, execution: Execution) -> tuple[RankMemory, ...]:
        """Of every pipeline rank."""
        ...

    def estimate(self, execution: Execution, memory: tuple[RankMemory, ...]) -> Estimate:
        """Everything said of an execution."""
        ...

    def quickest(self, execution: Execution) -> float:
        """Seconds that an execution is no faster than."""
        ...

    def shortest(self, frame: Frame) -> float:
        """Seconds that no execution of the frame is faster than."""
        ...

    def leanest(self, frame: Frame) -> int:
        """Bytes that the fullest GPU of no execution of the frame stays below."""
        ...


@frozen
class Found:
    """best: fastest first, of different parallel sizes each, at most as many as asked for; none: nothing fits.

    near: of what is faster than the best and does not fit, what is missing least. smallest: what needs least memory,
    looked for only where nothing fits. considered: executions of the space; opened: of these, looked at one by one.
    """

    best: tuple[Estimate, ...]
    near: Estimate | None
    smallest: Estimate | None
    considered: int
    opened: int


@define
class _Best:
    """The fastest of each set of parallel sizes."""

    number: int
    places: dict[tuple[object, ...], Estimate] = field(factory=dict)

    def offer(self, estimate: Estimate) -> None:
        group = _sizes(estimate.execution)
        known = self.places.get(group)
        if known is None or _rank(estimate) < _rank(known):
            self.places[group] = estimate

    def ordered(self) -> list[Estimate]:
        return sorted(self.places.values(), key=_rank)[: self.number]

    def last(self) -> float:
        """Seconds to beat for a place."""
        ordered = self.ordered()
        return ordered[-1].time.total.likely if len(ordered) == self.number else float("inf")


def _rank(estimate: Estimate) -> tuple[float, int, str]:
    return estimate.time.total.likely, estimate.fullest.memory.total, str(estimate.execution)


def _sizes(execution: Execution) -> tuple[object, ...]:
    layout = execution.layout
    return execution.engine, execution.zero, layout.tp, layout.pp, layout.cp, layout.ep, layout.etp


@uncollected()
def search(judge: Judge, frames: Iterable[Frame], places: int = PLACES) -> Found:
    """Look through every execution of the frames.

    Ties in time go to the smaller memory.

    Args:
        judge: what is known of them.
        frames: the executions.
        places: how many of the best are wanted, each of other parallel sizes.
    """
    known = list(frames)
    best, missed, opened = _Best(places), _Missed(judge), 0
    beat = float("inf")
    for shortest, number in sorted((judge.shortest(frame), number) for number, frame in enumerate(known)):
        if shortest > beat:
            break
        frame = known[number]
        if judge.leanest(frame) > judge.limit:
            missed.offer_frame(frame)
            continue
        for execution in frame.executions():
            opened += 1
            memory = judge.memory(execution)
            size = max(rank.memory.total for rank in memory)
            if size > judge.limit:
                missed.offer(size, execution, memory)
            elif judge.quickest(execution) <= beat:
                best.offer(judge.estimate(execution, memory))
                beat = best.last()
    ordered = tuple(best.ordered())
    return Found(
        ordered,
        missed.nearest(ordered[0]) if ordered else None,
        None if ordered else _smallest(judge, known),
        sum(len(frame) for frame in known),
        opened,
    )


_Miss = tuple[int, Execution, tuple[RankMemory, ...]]


@define
class _Missed:
    """What does not fit."""

    judge: Judge
    all: list[_Miss] = field(factory=list)

    def offer(self, size: int, execution: Execution, memory: tuple[RankMemory, ...]) -> None:
        self.all.append((size, execution, memory))

    def offer_frame(self, frame: Frame) -> None:
        """One execution stands for a frame that nothing of fits."""
        execution = next(frame.executions())
        memory = self.judge.memory(execution)
        self.offer(max(rank.memory.total for rank in memory), execution, memory)

    def nearest(self, best: Estimate) -> Estimate | None:
        """The smallest that is faster: among the smallest of each frame first, since it is for people to read."""
        ordered = sorted(self.all, key=lambda miss: (miss[0], str(miss[1])))
        firsts: dict[tuple[object, ...], _Miss] = {}
        for miss in ordered:
            execution = miss[1]
            firsts.setdefault((*_sizes(execution), execution.micro_batch, execution.layout.recompute), miss)
        for _, execution, memory in [*firsts.values(), *ordered[:MISSES]]:
            if self.judge.quickest(execution) < best.time.total.likely:
                estimate = self.judge.estimate(execution, memory)
                if estimate.time.total.likely < best.time.total.likely:
                    return estimate
        return None


def _smallest(judge: Judge, frames: list[Frame]) -> Estimate | None:
    """What needs least memory."""
    found: tuple[int, str] | None = None
    chosen: tuple[Execution, tuple[RankMemory, ...]] | None = None
    for _, frame in sorted(((judge.leanest(frame), number), frame) for number, frame in enumerate(frames)):
        if found is not None and judge.leanest(frame) > found[0]:
            break
        for execution in frame.executions():
            memory = judge.memory(execution)
            size = (max(rank.memory.total for rank in memory), str(execution))
            if found is None or size < found:
                found, chosen = size, (execution, memory)
    return None if chosen is None else judge.estimate(*chosen)
