"""Forward and backward seconds of stages: together what the time model says, apart as the layers say."""

import pytest

from composer.plans.execution import Execution
from composer.plans.layout import Layout
from composer.plans.time.estimate import clock_of
from composer.plans.time.stage_times import stage_times
from tests.composer.plans.time.models import job, machine, model

LAYOUTS = {
    "even": Layout(pp=4),
    "interleaved": Layout(pp=2, virtual_stages=3),
    "uneven": Layout(pp=3, first_stage_layers=2, last_stage_layers=4, recompute="full"),
    "tensor parallel": Layout(tp=2, pp=2),
    "one": Layout(),
}

# Seconds in which a gradient is added to the main gradient, of a layer and of embedding or head: 10 bytes an element,
# 1 TB/s.
LAYER, END = 1e4 * 10 / 1e12, 1e5 * 10 / 1e12
ADDED = [3 * LAYER + END, 3 * LAYER, 3 * LAYER, 3 * LAYER + END]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("frozen_layers", [0, 5])
def test_stages_of_a_rank_add_up_to_the_rank(name, frozen_layers):
    execution = Execution(12, LAYOUTS[name])
    built, asked, card = model(frozen_layers, tower=True, head_ms=2.0), job(12, images=1), machine()
    stages = stage_times(built, asked, execution, card)
    ranks = [0.0] * execution.layout.pp
    for stage in stages:
        ranks[stage.rank] += stage.forward + stage.backward
    assert tuple(ranks) == pytest.approx(clock_of(built, asked, card).pipeline(execution).ranks)
    assert {(stage.rank, stage.virtual) for stage in stages} == {
        (rank, virtual) for rank in range(execution.layout.pp) for virtual in range(execution.layout.virtual_stages)
    }


def test_a_layer_takes_a_millisecond_forward_and_two_backward():
    stages = stage_times(model(), job(), Execution(4, Layout(pp=4)), machine())
    assert [stage.forward for stage in stages] == pytest.approx([3e-3] * 4)
    assert [stage.backward for stage in stages] == pytest.approx([6e-3 + added for added in ADDED])


def test_what_is_computed_again_is_backward():
    stages = stage_times(model(), job(), Execution(4, Layout(pp=4, recompute="full")), machine())
    assert [stage.forward for stage in stages] == pytest.approx([3e-3] * 4)
    assert [stage.backward for stage in stages] == pytest.approx([9e-3 + added for added in ADDED])


def test_a_frozen_tower_is_forward_only_and_the_head_stands_last():
    stages = stage_times(model(tower=True, head_ms=2.0), job(images=1), Execution(4, Layout(pp=4)), machine())
    assert [stage.forward for stage in stages] == pytest.approx([4e-3, 3e-3, 3e-3, 5e-3])
    computed = [6e-3, 6e-3, 6e-3, 10e-3]
    wanted = [seconds + added for seconds, added in zip(computed, ADDED, strict=True)]
    assert [stage.backward for stage in stages] == pytest.approx(wanted)
