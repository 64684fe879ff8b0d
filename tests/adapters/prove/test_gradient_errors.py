"""Parts of a gradient, put together from sums of squares."""

import pytest

from adapters.prove.layouts.gradient_errors import Part, relative_errors


def part(at, error=0.0, size=8.0, name="weight", values=2):
    return Part(name, (at,), values, 4, error, size)


def test_halves_add_up():
    assert relative_errors([part(0, 0.5), part(1, 1.5)]) == {"weight": pytest.approx((2.0 / 16.0) ** 0.5)}


def test_the_worst_copy_counts():
    assert relative_errors([part(0), part(1), part(0, 4.0)]) == {"weight": pytest.approx(0.5)}


def test_no_number_is_worst():
    found = relative_errors([part(0, float("nan")), part(0), part(1)])
    assert not found["weight"] <= 1e9


def test_a_part_that_no_rank_has():
    assert relative_errors([part(0)]) == {"weight": float("inf")}


def test_where_zero_is_right_the_difference_itself_counts():
    assert relative_errors([part(0, 0.25, 0.0), part(1, 0.0, 0.0)]) == {"weight": 0.5}
