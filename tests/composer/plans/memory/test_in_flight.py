"""Micro-batches in flight, by hand."""

import pytest

from composer.plans.memory.in_flight import in_flight


def test_one_rank_has_one():
    assert in_flight(1, 1, 8) == ((1,),)


@pytest.mark.parametrize(("micro_batches", "expected"), [(8, (4, 3, 2, 1)), (2, (2, 2, 2, 1)), (1, (1, 1, 1, 1))])
def test_without_virtual_stages(micro_batches: int, expected: tuple[int, ...]):
    assert in_flight(4, 1, micro_batches) == tuple((count,) for count in expected)


def test_virtual_stages_take_turns():
    # Rank 0 of 2 begins with 2 · 1 + 1 · 2 passes and one more: micro-batches 0 and 1 of stage 0, of stage 1, and 2.
    assert in_flight(2, 2, 8) == ((3, 2), (2, 1))


def test_no_more_than_there_are():
    assert in_flight(4, 2, 4)[0] == (4, 4)
    assert in_flight(2, 3, 2) == ((2, 2, 2), (2, 2, 1))
