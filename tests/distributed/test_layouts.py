"""Several ranks against one: loss and every gathered gradient, in fp32, relative by norm."""

import pytest

from tests.distributed.layouts import COMBINED, FAULTS, LAYOUTS

BOUND = 1e-5
TOWER = ".vision_tower."


def expected_of(single, layout):
    """What one rank finds; a frozen tower has no gradients."""
    found = single[layout.variant, layout.data]
    kept = {name: value for name, value in found["gradients"].items() if not (layout.frozen and TOWER in name)}
    return found | {"gradients": kept}


def errors(single, found):
    """Relative difference of each gradient; where the single rank has exactly zero, the other must too."""
    expected = single["gradients"]
    assert found["gradients"].keys() == expected.keys()
    return {
        name: float((found["gradients"][name] - one).norm() / one.norm()) if one.any()
        else float(found["gradients"][name].norm())
        for name, one in expected.items()
    }  # fmt: skip


@pytest.fixture
def found(layout, request):
    return request.getfixturevalue("ranks" if layout.ranks == 2 else "four_ranks")[layout.id]


# Four processes on two cores take their time to start.
every_layout = pytest.mark.parametrize(
    "layout",
    [*LAYOUTS, *(pytest.param(layout, marks=pytest.mark.slow) for layout in COMBINED)],
    ids=lambda layout: layout.id,
)


@every_layout
def test_ranks_find_what_one_finds(layout, single, found):
    expected = expected_of(single, layout)
    assert found["losses"] == pytest.approx([expected["loss"]] * layout.ranks, rel=BOUND)
    wrong = {name: error for name, error in errors(expected, found).items() if not error <= BOUND}
    assert not wrong


@every_layout
def test_copies_of_a_gradient_stay_the_same(layout, single, found):
    norms = {name: float(value.norm()) for name, value in expected_of(single, layout)["gradients"].items()}
    apart = {name: value for name, value in found["apart"].items() if value > BOUND * norms[name]}
    assert not apart


@every_layout
def test_a_rank_reads_its_own_weights_and_no_others(layout, found):
    for result in found["results"]:
        assert result["read"] == result["held"]


@pytest.mark.parametrize("layout", FAULTS, ids=lambda layout: layout.id)
def test_a_fault_shows(layout, single, found):
    assert max(errors(expected_of(single, layout), found).values()) > 1e-3


@every_layout
def test_ranks_share_the_images(layout, single, found):
    """No image is encoded twice, and no rank of those that see the same batch encodes more than its share."""
    images = single[layout.variant, layout.data]["images"]
    encoded = [result["encoded"] for result in found["results"]]
    assert sum(encoded) == sum(images)
    sharing = layout.sizes.get("tp", 1) * layout.sizes.get("cp", 1)
    assert max(encoded) <= sum(-(-count // sharing) for count in images)
