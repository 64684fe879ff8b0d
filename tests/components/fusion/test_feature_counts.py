"""Counts that fit, and every way in which they do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.fusion.feature_counts import FeatureCountError, check_feature_counts


@given(st.lists(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), max_size=3), min_size=1, max_size=4))
def test_items_that_fill_stretches_pass(samples):
    """Samples of stretches of adjoining items: fits with and without items per sample."""
    stretches = [[sum(items) for items in sample] for sample in samples]
    rows = [row for sample in samples for items in sample for row in items]
    per_sample = [sum(map(len, sample)) for sample in samples]
    check_feature_counts(stretches, rows, None, "image")
    check_feature_counts(stretches, rows, per_sample, "image")


@pytest.mark.parametrize(
    ("placeholders", "rows", "per_sample", "words"),
    [
        ([[4]], [3], None, "sample 0: 4 image placeholders, but 3 feature rows"),
        ([[4], [3]], [4, 4], None, "sample 1: 3 image placeholders, but 4 feature rows"),
        ([[4], []], [4, 4], None, "1 more image items \\(4 feature rows\\) are left over"),
        ([[4], [4]], [4], None, "sample 1: 4 image placeholders, but 0 feature rows"),
        ([[2, 2]], [4], None, "sample 0: image placeholders stand in stretches of \\[2, 2\\]"),
        ([[4], [4]], [4, 4], [2, 0], "sample 0: 4 image placeholders, but 8 feature rows"),
        ([[4], [4]], [4, 4], [1, 2], "does not add up"),
    ],
)
def test_what_does_not_fit_is_named(placeholders, rows, per_sample, words):
    with pytest.raises(FeatureCountError, match=words):
        check_feature_counts(placeholders, rows, per_sample, "image")


def test_equal_totals_do_not_hide_a_shift_between_samples():
    """Seven rows for seven placeholders, but the second picture would spill into the next sample."""
    with pytest.raises(FeatureCountError, match="sample 0: 4 image placeholders, but 7 feature rows"):
        check_feature_counts([[4], [3]], [3, 4], None, "image")


def test_an_item_may_be_interrupted_where_the_spec_says_so():
    """Two pictures of two lines each, a word between the lines."""
    check_feature_counts([[3, 3, 2, 2]], [6, 4], None, "image", interrupted=True)
    with pytest.raises(FeatureCountError, match="an item would not fill consecutive placeholders"):
        check_feature_counts([[3, 3, 2, 2]], [6, 4], None, "image")


@pytest.mark.parametrize("stretches", [[5, 5], [10]])
def test_an_interrupted_item_still_ends_with_a_stretch(stretches):
    with pytest.raises(FeatureCountError, match="an item would end within a stretch"):
        check_feature_counts([stretches], [6, 4], None, "image", interrupted=True)
