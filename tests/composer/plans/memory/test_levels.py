"""Levels of features by hand: 4 layers, levels after layers 0 and 2, 2 images of 5 rows, rows of 10 bf16 numbers."""

import pytest
from attrs import evolve

from composer.plans.costs import Setting
from composer.plans.layout import Layout
from composer.plans.memory.activations import stage_bytes
from composer.plans.memory.levels import PLACE, level_bytes
from composer.plans.memory.setting import mask_fields
from composer.plans.memory.towers import Images
from composer.plans.placement import place
from tests.composer.plans.memory.decoder import WIDTH, model

IMAGES = Images(2, 5)
LEVEL = 2 * 5 * WIDTH * 2
PLACES = 2 * 5 * PLACE
LEVELLED = evolve(model("near", "near", "near", "near"), levels=(0, 2))


def setting(layout: Layout) -> Setting:
    return Setting(micro_batch=1, seq=64, layout=layout, implementation="local", element=2)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout(), [(2 * PLACES, 0)]),
        (Layout(recompute="full"), [(2 * PLACES + 2 * LEVEL, 0)]),
        # The second level is sent by the first stage, and held by both.
        (Layout(pp=2), [(PLACES, LEVEL), (PLACES, LEVEL)]),
        (Layout(pp=2, recompute="full"), [(PLACES + 2 * LEVEL, LEVEL), (PLACES, LEVEL)]),
        (Layout(pp=4), [(PLACES, LEVEL), (0, 2 * LEVEL), (PLACES, LEVEL), (0, 0)]),
        # A first stage that only encodes sends both.
        (Layout(pp=2, first_stage_layers=0), [(0, 2 * LEVEL), (2 * PLACES, 2 * LEVEL)]),
        (Layout(pp=1, cp=2), [(PLACES, 0)]),
        (Layout(pp=1, tp=2), [(2 * PLACES, 0)]),
        (Layout(pp=1, tp=2, sequence_parallel=True), [(PLACES, 0)]),
    ],
    ids=str,
)
def test_what_stages_keep_and_send(layout, expected):
    found = [level_bytes(LEVELLED, chunk, setting(layout), IMAGES, WIDTH) for chunk in place(4, layout)]
    assert [(each.kept, each.sent) for each in found] == expected


def test_they_count_with_the_stage():
    layout = Layout(pp=2)
    plain = evolve(LEVELLED, levels=())
    for chunk in place(4, layout):
        less, more = (stage_bytes(each, chunk, setting(layout), IMAGES) for each in (plain, LEVELLED))
        assert (more.layers - less.layers, more.sent - less.sent) == (PLACES, LEVEL)
    assert mask_fields(LEVELLED) == mask_fields(plain) + 1
