"""Branch and bound against looking at everything, on made-up numbers."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from composer.plans.answer import Estimate
from composer.plans.search.search import PLACES, search
from composer.plans.search.space import Frame, Space
from tests.composer.plans.search.made_up import MadeUp


def known_frames() -> list[Frame]:
    return MadeUp(0, 0).frames(Space(), Counter())


def rank(estimate: Estimate) -> tuple[float, int, str]:
    return estimate.time.total.likely, estimate.fullest.memory.total, str(estimate.execution)


def by_hand(judge: MadeUp) -> list[Estimate]:
    """Every execution that fits, fastest first."""
    every = [each for frame in known_frames() for each in frame.executions()]
    made = [judge.estimate(each, judge.memory(each)) for each in every]
    return sorted((each for each in made if each.fullest.memory.total <= judge.limit), key=rank)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(1000, 2000), st.sampled_from([3, 50, 10**6]))
def test_the_best_of_each_size_is_found(seed: int, limit: int, values: int) -> None:
    judge = MadeUp(seed, limit, values)
    found = search(judge, known_frames())
    expected: dict[object, Estimate] = {}
    for estimate in by_hand(judge):
        layout = estimate.execution.layout
        sizes = (layout.tp, layout.pp, layout.cp, layout.ep, layout.etp)
        expected.setdefault((estimate.execution.engine, estimate.execution.zero, *sizes), estimate)
    times = [each.time.total.likely for each in list(expected.values())[:PLACES]]
    assert [each.time.total.likely for each in found.best] == times
    assert all(each.fullest.memory.total <= limit for each in found.best)
    assert found.considered == sum(len(frame) for frame in known_frames())


def test_the_first_place_goes_to_the_smaller_memory_among_equals() -> None:
    for seed in range(6):
        judge = MadeUp(seed, 2000, 3)
        assert search(judge, known_frames()).best[0] == by_hand(judge)[0]


def test_closed_frames_are_not_looked_at() -> None:
    judge = MadeUp(1, 2000, 10**6)
    found = search(judge, known_frames())
    assert found.opened < found.considered


def test_what_needs_least_memory_is_named_where_nothing_fits() -> None:
    judge = MadeUp(1, 900, 10**6)
    found = search(judge, known_frames())
    assert found.best == ()
    assert found.smallest is not None
    everything = [judge.memory(each)[0].memory.total for frame in known_frames() for each in frame.executions()]
    assert found.smallest.fullest.memory.total == min(everything)


def test_something_faster_that_does_not_fit_is_named() -> None:
    judge = MadeUp(3, 1005, 10**6)
    found = search(judge, known_frames())
    assert found.near is not None
    assert found.near.time.total.likely < found.best[0].time.total.likely
    assert found.near.fullest.memory.total > judge.limit
