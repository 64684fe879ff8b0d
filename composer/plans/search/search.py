"""The fastest execution that fits: branch and bound over frames, so that none of the space is left out.

A frame's lower bound on step time is never above that of any execution in it. Frames are opened in the order of their
bounds, until the next bound is above the last place among the best: what is still closed cannot win a place.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from attrs import define, field, frozen

from composer.plans.answer import Estimate, RankMemory
from composer.plans.execution import Execution
from composer.plans.search.space import Frame

PLACES = 4
"""The best and the next three."""


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

    def shortest(self, frame: Frame) -> float:
        """Seconds that no execution of the frame is faster than."""
        ...

    def leanest(self, frame: Frame) -> int:
        """Bytes that the fullest GPU of no execution of the frame stays below."""
        ...


@frozen
class Found:
    """best: fastest first, of different parallel sizes each, at most `PLACES`; none: nothing fits.

    too_large: the fastest of what is faster than the best and does not fit. smallest: what needs least memory of what
    does not fit, looked for only where nothing fits. considered: executions of the space; opened: of these, looked at
    one by one.
    """

    best: tuple[Estimate, ...]
    too_large: Estimate | None
    smallest: Estimate | None
    considered: int
    opened: int


@define
class _Best:
    """The fastest of each set of parallel sizes."""

    places: dict[tuple[object, ...], Estimate] = field(factory=dict)

    def offer(self, estimate: Estimate) -> None:
        group = _sizes(estimate.execution)
        known = self.places.get(group)
        if known is None or _rank(estimate) < _rank(known):
            self.places[group] = estimate

    def ordered(self) -> list[Estimate]:
        return sorted(self.places.values(), key=_rank)[:PLACES]

    def last(self) -> float:
        """Seconds to beat for a place."""
        ordered = self.ordered()
        return ordered[-1].time.total.likely if len(ordered) == PLACES else float("inf")


def _rank(estimate: Estimate) -> tuple[float, int, str]:
    return estimate.time.total.likely, estimate.fullest.memory.total, str(estimate.execution)


def _sizes(execution: Execution) -> tuple[object, ...]:
    layout = execution.layout
    return execution.engine, execution.zero, layout.tp, layout.pp, layout.cp, layout.ep, layout.etp


def search(judge: Judge, frames: Iterable[Frame]) -> Found:
    """Look through every execution of the frames.

    Ties in time go to the smaller memory.
    """
    known = list(frames)
    considered = sum(len(frame) for frame in known)
    closed = sorted(((judge.shortest(frame), number) for number, frame in enumerate(known)))
    best, too_large, opened, beat = _Best(), None, 0, float("inf")
    for shortest, number in closed:
        if shortest > beat:
            break
        frame = known[number]
        if judge.leanest(frame) > judge.limit:
            continue
        for execution in frame.executions():
            opened += 1
            memory = judge.memory(execution)
            fits = max(rank.memory.total for rank in memory) <= judge.limit
            if not fits and too_large is not None and shortest >= too_large.time.total.likely:
                continue
            estimate = judge.estimate(execution, memory)
            if fits:
                best.offer(estimate)
            elif too_large is None or _rank(estimate) < _rank(too_large):
                too_large = estimate
        beat = best.last()
    ordered = tuple(best.ordered())
    if ordered and too_large is not None and _rank(too_large) > _rank(ordered[0]):
        too_large = None
    smallest = None if ordered else _smallest(judge, known)
    return Found(ordered, too_large, smallest, considered, opened)


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


def fallen_words(fallen: Counter[str]) -> list[str]:
    """Reasons why layouts were not accepted, most frequent first."""
    return [f"{reason} ({count} layouts)" for reason, count in fallen.most_common()]
