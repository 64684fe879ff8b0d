"""Passes that a pipeline keeps at least, by hand."""

from composer.plans.memory.bounds import passes_kept
from composer.plans.splits import EVEN, Splits


def test_one_rank_keeps_each_layer_once() -> None:
    assert passes_kept(6, 1, 8, Splits((EVEN,))) == 6


def test_an_even_pipeline() -> None:
    # Four ranks of two layers, with 4, 3, 2 and 1 micro-batches in flight.
    assert passes_kept(8, 4, 8, Splits((EVEN,))) == 2 * (4 + 3 + 2 + 1)
    # Never more than there are.
    assert passes_kept(8, 4, 2, Splits((EVEN,))) == 2 * (2 + 2 + 2 + 1)


def test_the_placement_with_fewest_decides() -> None:
    # Two ranks, with 2 and 1 in flight: of 1 and 3 layers, 2 + 3; of none and 4, 4.
    assert passes_kept(4, 2, 8, Splits((EVEN, (1, 3, 1)))) == 1 * 2 + 3 * 1
    assert passes_kept(4, 2, 8, Splits((EVEN, (1, 3, 1), (0, 4, 1)))) == 4


def test_virtual_stages_keep_more() -> None:
    # Ranks keep (3, 2) and (2, 1) passes of stages of one layer each.
    assert passes_kept(4, 2, 8, Splits(((None, None, 2),))) == 3 + 2 + 2 + 1
