"""Dimensions made one, and the two places that disagree."""

from hypothesis import given
from hypothesis import strategies as st

from composer.dimensions import Clash, Dimensions, Size

KEYS = [("", "batch"), ("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]


def test_two_sizes_of_one_dimension_clash_with_both_places() -> None:
    dimensions = Dimensions()
    assert dimensions.unify(("a", "x"), Size(4, "nodes.a.dim")) is None
    assert dimensions.unify(("a", "x"), ("b", "x")) is None
    assert dimensions.unify(("b", "x"), Size(5, "nodes.b.dim")) == Clash(Size(4, "nodes.a.dim"), Size(5, "nodes.b.dim"))
    assert dimensions.unify(Size(4, "p"), Size(5, "q")) == Clash(Size(4, "p"), Size(5, "q"))


def test_one_name_in_two_nodes_may_be_two_sizes() -> None:
    dimensions = Dimensions()
    assert dimensions.unify(("a", "x"), Size(4, "p")) is None
    assert dimensions.unify(("b", "x"), Size(5, "q")) is None


ENDS = st.sampled_from(KEYS) | st.builds(Size, st.integers(1, 3), st.just("path"))


@given(st.lists(st.tuples(ENDS, ENDS), max_size=15))
def test_sizes_are_those_of_a_slow_partition(pairs: list[tuple[object, object]]) -> None:
    """Sets of names and sizes, merged pair by pair unless that would bring two numbers together."""
    dimensions = Dimensions()
    groups: list[set[object]] = [{key} for key in KEYS]
    for left, right in pairs:
        clash = dimensions.unify(left, right)
        assert (clash is not None) == (len(_numbers(left, groups) | _numbers(right, groups)) > 1)
        names = {left, right} & set(KEYS)
        if clash is None and names:
            merged = [group for group in groups if group & names]
            groups = [group for group in groups if not group & names]
            groups.append({left, right}.union(*merged))
    for key in KEYS:
        size = dimensions.size(key)
        assert ({size.number} if size else set()) == _numbers(key, groups)


def _numbers(end: object, groups: list[set[object]]) -> set[int]:
    if isinstance(end, Size):
        return {end.number}
    return {size.number for group in groups if end in group for size in group if isinstance(size, Size)}
