"""Step time of a model of round numbers: every component by hand."""

import time

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from composer.plans.execution import Execution
from composer.plans.job import Job
from composer.plans.layout import Layout, Zero
from composer.plans.model import PlannedModel
from composer.plans.placement import PlacementError
from composer.plans.time import estimate, interleaved, quickest, shortest, time_of
from composer.plans.time.estimate import clock_of
from composer.plans.timeline import StageTime, play
from tests.composer.plans.time.models import LAYERS, job, machine, model

STEP = LAYERS * 3e-3
"""Seconds of a micro-batch where everything trains: backward costs twice as much as forward."""


def likely(found: object, execution: Execution, asked: Job | None = None, **hardware: float) -> dict[str, float]:
    asked = asked or job(execution.gpus)
    parts = time_of(found, asked, execution, machine(**hardware)).components()  # type: ignore[arg-type]
    return {name: part.likely for name, part in parts.items()}


def test_forward_and_twice_as_much_backward():
    assert likely(model(), Execution(4))["lm"] == pytest.approx(4 * STEP, rel=1e-3)


def test_components_add_up_and_lie_within_the_spread():
    found = time_of(model(tower=True), job(images=1), Execution(4, Layout(tp=2, pp=2)), machine())
    assert found.total.likely == pytest.approx(sum(part.likely for part in found.components().values()))
    assert found.total.low == pytest.approx(0.9 * found.total.likely)
    assert found.total.high == pytest.approx(1.1 * found.total.likely)


def test_frozen_layers_at_the_start_have_no_backward_pass():
    trained = likely(model(frozen_layers=4), Execution(4))["lm"]
    assert trained == pytest.approx(4 * (4 * 1e-3 + 8 * 3e-3), rel=1e-3)


def test_frozen_layers_behind_trained_ones_pass_gradient():
    found = model()
    frozen = evolve(found, trained=found.trained - {"layer.11"})
    assert likely(frozen, Execution(4))["lm"] == pytest.approx(4 * (11 * 3e-3 + 2e-3), rel=1e-3)


def test_frozen_layers_on_a_later_pipeline_rank_pass_gradient_all_the_same():
    layout = Layout(pp=2)
    parts = likely(model(frozen_layers=8), Execution(2, layout), job(2, 2))
    second = 2 * 2e-3 + 4 * 3e-3  # layers 6 and 7: no gradient is wanted, and Megatron-Core makes one
    assert parts["lm"] == pytest.approx(2 * second, rel=1e-3)


@pytest.mark.parametrize(("recompute", "again"), [("none", 0), ("full", 1)])
def test_recomputation_is_a_forward_pass_more(recompute: str, again: int):
    parts = likely(model(), Execution(4, Layout(recompute=recompute)))  # type: ignore[arg-type]
    assert parts["lm"] == pytest.approx(4 * LAYERS * (3 + again) * 1e-3, rel=1e-3)


@pytest.mark.parametrize(("trains", "passes"), [(False, 1), (True, 3)])
def test_a_frozen_tower_runs_forward_only(trains: bool, passes: int):
    parts = likely(model(tower=True, tower_trains=trains), Execution(4), job(images=2))
    assert parts["tower"] == pytest.approx(4 * 2 * passes * 1e-3, rel=1e-3)


def test_tensor_parallel_ranks_share_images_out():
    parts = likely(model(tower=True), Execution(4, Layout(tp=2)), job(images=3))
    assert parts["tower"] == pytest.approx(8 * 2 * 1e-3)


@pytest.mark.parametrize(("pp", "virtual", "batch"), [(2, 1, 8), (4, 1, 8), (4, 3, 8), (2, 3, 16)])
def test_the_bubble_of_an_even_pipeline(pp: int, virtual: int, batch: int):
    parts = likely(
        model(), Execution(pp, Layout(pp=pp, virtual_stages=virtual)), job(pp, batch), network_gbs=1e9, nvlink_gbs=1e9
    )
    assert parts["pipeline"] / (batch * STEP / pp) == pytest.approx((pp - 1) / virtual / batch, rel=1e-3)


def test_the_slowest_stage_is_waited_for():
    parts = likely(model(head_ms=4), Execution(2, Layout(pp=2)), job(2, 8), nvlink_gbs=1e9)
    assert parts["lm"] == pytest.approx(8 * (STEP / 2 + 12e-3), rel=1e-3)
    assert parts["pipeline"] == pytest.approx(STEP / 2, rel=1e-2)


def test_a_tower_counts_on_the_first_stage():
    parts = likely(model(tower=True), Execution(2, Layout(pp=2)), job(2, 8, images=4), nvlink_gbs=1e9)
    assert parts["tower"] == pytest.approx(8 * 4e-3)


def test_uneven_layers_make_up_for_a_tower():
    asked = job(2, 8, images=18)
    even = sum(likely(model(tower=True), Execution(2, Layout(pp=2)), asked).values())
    layout = Layout(pp=2, first_stage_layers=3, last_stage_layers=9)
    assert sum(likely(model(tower=True), Execution(2, layout), asked).values()) < even


def test_sums_over_tensor_parallel_ranks():
    parts = likely(model(), Execution(4, Layout(tp=4)), job(4, 1))
    once = 2 * 1e6 * 3 / 4 / 1e9
    assert parts["tensor_parallel"] == pytest.approx(2 * LAYERS * once)


@pytest.mark.parametrize(("ep", "seconds"), [(4, 1e6 * 3 / 4 / 1e9), (8, 1e6 * 4 / 8 / 0.1e9)])
def test_tokens_are_exchanged_within_a_node_or_between_nodes(ep: int, seconds: float):
    parts = likely(model(), Execution(8, Layout(ep=ep)), job(8, 8))
    assert parts["expert_parallel"] == pytest.approx(2 * LAYERS * seconds)


def test_tensor_parallel_ranks_push_replicas_onto_other_nodes():
    inside = likely(model(), Execution(4, Layout(tp=1)), job(4, 4))["data_parallel"]
    across = likely(model(), Execution(16, Layout(tp=4)), job(16, 4))["data_parallel"]
    assert across > inside


def test_overlap_hides_gradients_behind_a_micro_batch():
    shown = likely(model(), Execution(4, distributed_optimizer=True))["data_parallel"]
    hidden = likely(model(), Execution(4, distributed_optimizer=True, overlap=True))["data_parallel"]
    assert shown > 0
    assert hidden == 0


def test_sharing_the_optimizer_out_divides_its_step():
    alone, shared = (likely(model(), Execution(4, distributed_optimizer=share))["optimizer"] for share in (False, True))
    assert alone == pytest.approx(4 * shared)


def test_the_host_is_waited_for_where_kernels_are_short():
    parts = likely(model(launches=500), Execution(4), launch_us=10)
    forward, backward = 5e-3 - 1e-3, 1.6 * 5e-3 - 2e-3
    assert parts["host"] == pytest.approx(4 * LAYERS * (forward + backward))


def test_zero_3_gathers_everything_in_every_pass():
    times = [
        sum(likely(model(), Execution(4, engine="deepspeed", zero=Zero(stage))).values())  # type: ignore[arg-type]
        for stage in (1, 2, 3)
    ]
    assert times[0] < times[1] < times[2]


def test_rates():
    found = estimate(model(), job(4, 16), Execution(4), machine(), ())
    assert found.tokens_per_second.likely == pytest.approx(16 * 64 / found.time.total.likely)
    assert found.tokens_per_second.low < found.tokens_per_second.likely < found.tokens_per_second.high
    assert found.mfu.likely == pytest.approx(16 * LAYERS * 3e9 / (found.time.total.likely * 4 * 1e12))
    recomputed = estimate(model(), job(4, 16), Execution(4, Layout(recompute="full")), machine(), ())
    assert recomputed.mfu.likely < found.mfu.likely


@given(
    pp=st.sampled_from([1, 2, 3, 4]),
    tp=st.sampled_from([1, 2]),
    virtual=st.sampled_from([1, 2, 3]),
    first=st.none() | st.integers(0, 6),
    last=st.none() | st.integers(0, 6),
    shared=st.booleans(),
    frozen=st.integers(0, LAYERS),
    images=st.integers(0, 3),
)
def test_nothing_is_faster_than_the_shortest(
    pp: int, tp: int, virtual: int, first: int | None, last: int | None, shared: bool, frozen: int, images: int
):
    layout = Layout(tp, pp, virtual, first_stage_layers=first, last_stage_layers=last)
    found, asked, gpus = model(frozen, tower=True, head_ms=2), job(pp * tp * 2, 8, images), pp * tp * 2
    base = Execution(gpus, Layout(tp, pp), overlap=True)
    assume(virtual == 1 or base.micro_batches(asked.global_batch) % pp == 0)
    try:
        one = evolve(base, layout=layout, distributed_optimizer=shared)
        seconds = time_of(found, asked, one, machine()).total.likely
    except PlacementError:
        return
    assert shortest(found, asked, base, machine()) <= seconds * (1 + 1e-9)
    assert quickest(found, asked, one, machine()) <= seconds * (1 + 1e-9)


@pytest.mark.parametrize(("pp", "virtual", "count"), [(2, 2, 16), (4, 3, 32), (4, 2, 8), (3, 4, 60)])
def test_virtual_stages_that_differ_take_as_long_as_their_schedule(pp: int, virtual: int, count: int):
    """A rank with a slow and a fast virtual stage holds the others up, though together they are no slower."""
    stages = [[1.0] * pp for _ in range(virtual)]
    for own in stages:
        own[0] = 0.5
    stages[0][0] += 0.5 * virtual
    times = tuple(
        StageTime(rank, number, each / 3, each * 2 / 3)
        for number, of_rank in enumerate(stages)
        for rank, each in enumerate(of_rank)
    )
    found = interleaved.seconds(tuple(map(tuple, stages)), count)
    assert found == pytest.approx(play(times, count).total, rel=0.01)
    assert found > 1.02 * count * virtual


def test_twenty_thousand_executions_take_about_a_second():
    found, hardware = model(tower=True), machine()
    asked = job(64, 512, images=2)
    executions = [
        Execution(64, Layout(tp, pp, ep=ep, recompute=recompute), micro, shared, overlap)  # type: ignore[arg-type]
        for tp in (1, 2, 4)
        for pp in (1, 2, 4)
        for ep in (1, 2, 4, 8)
        for recompute in ("none", "full", "selective")
        for micro in (1, 2)
        for shared in (False, True)
        for overlap in (False, True)
    ]
    begin = time.process_time()
    for _ in range(4):
        for execution in executions:
            time_of(found, asked, execution, hardware)
    assert (time.process_time() - begin) / (4 * len(executions)) < 150e-6


def test_a_tied_head_on_another_rank_trains_a_copy_of_the_table():
    found = model()
    tied = PlannedModel(
        evolve(found.inventory, tied=True), found.decoder_node, found.decoder, found.rules, found.trained
    )
    clock = clock_of(tied, job(2, 8), machine())
    alone, apart = clock.trained(Layout()), clock.trained(Layout(pp=2))
    table = 1000 * 100
    assert sum(rank.dense for rank in apart) == sum(rank.dense for rank in alone) + table
    assert apart[-1].dense - apart[0].dense == table  # `model` has a head of its own beside the copy
