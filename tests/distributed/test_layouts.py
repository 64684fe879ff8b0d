"""Two ranks against one: loss and every gathered gradient, in fp32, relative by norm."""

import pytest

from tests.distributed.layouts import FAULTS, LAYOUTS

BOUND = 1e-5


def errors(single, found):
    """Relative difference of each gradient; where the single rank has exactly zero, the other must too."""
    expected = single["gradients"]
    assert found["gradients"].keys() == expected.keys()
    return {
        name: float((found["gradients"][name] - one).norm() / one.norm()) if one.any()
        else float(found["gradients"][name].norm())
        for name, one in expected.items()
    }  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.id)
def test_two_ranks_find_what_one_finds(layout, single, ranks):
    expected, found = single[layout.variant], ranks[layout.id]
    assert found["losses"] == pytest.approx([expected["loss"]] * 2, rel=BOUND)
    wrong = {name: error for name, error in errors(expected, found).items() if not error <= BOUND}
    assert not wrong


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.id)
def test_copies_of_a_gradient_stay_the_same(layout, single, ranks):
    norms = {name: float(value.norm()) for name, value in single[layout.variant]["gradients"].items()}
    apart = {name: value for name, value in ranks[layout.id]["apart"].items() if value > BOUND * norms[name]}
    assert not apart


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.id)
def test_a_rank_reads_its_own_weights_and_no_others(layout, ranks):
    for result in ranks[layout.id]["results"]:
        assert result["read"] == result["held"]


@pytest.mark.parametrize("layout", FAULTS, ids=lambda layout: layout.id)
def test_a_fault_shows(layout, single, ranks):
    expected, found = single[layout.variant], ranks[layout.id]
    assert max(errors(expected, found).values()) > 1e-3
