"""The pipeline schedule: everything in order, as Megatron-Core orders it, with the bubble that theory gives."""

import itertools
import re
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.plans.timeline import StageTime, Work, equal_stages, order_of_work, play


@st.composite
def pipelines(draw):
    """Ranks, virtual stages, micro-batches that Megatron-Core accepts, and a time for every stage."""
    ranks, virtuals = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    virtuals = 1 if ranks == 1 else virtuals
    micro_batches = draw(st.integers(1, 4)) * ranks if virtuals > 1 else draw(st.integers(1, 12))
    seconds = st.floats(0.01, 3.0)
    stages = tuple(
        StageTime(rank, virtual, draw(seconds), draw(seconds)) for rank in range(ranks) for virtual in range(virtuals)
    )
    return ranks, virtuals, micro_batches, stages


@given(pipelines())
def test_every_stage_runs_once_in_each_direction_after_what_it_needs(pipeline):
    ranks, virtuals, micro_batches, stages = pipeline
    ends = {
        (span.work.direction, span.work.micro_batch, span.work.virtual * ranks + rank): span
        for rank, spans in enumerate(play(stages, micro_batches).ranks)
        for span in spans
    }
    assert len(ends) == 2 * ranks * virtuals * micro_batches
    last = ranks * virtuals - 1
    for (direction, micro_batch, stage), span in ends.items():
        if direction == "forward" and stage > 0:
            assert ends["forward", micro_batch, stage - 1].end <= span.start
        if direction == "backward":
            assert ends["forward", micro_batch, stage].end <= span.start
            if stage < last:
                assert ends["backward", micro_batch, stage + 1].end <= span.start


@given(pipelines())
def test_a_rank_does_one_thing_at_a_time_and_never_waits_without_need(pipeline):
    _, _, micro_batches, stages = pipeline
    seconds = {(stage.rank, stage.virtual): stage for stage in stages}
    timeline = play(stages, micro_batches)
    ends = {span.end for spans in timeline.ranks for span in spans} | {0.0}
    for rank, spans in enumerate(timeline.ranks):
        for span in spans:
            assert span.start in ends  # something has just ended, here or where it waited for
            assert span.end - span.start == pytest.approx(
                getattr(seconds[rank, span.work.virtual], span.work.direction)
            )
        for before, after in itertools.pairwise(spans):
            assert before.end <= after.start
    assert timeline.total == max(span.end for spans in timeline.ranks for span in spans)


@pytest.mark.parametrize(("ranks", "virtuals"), [(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (4, 2), (4, 3), (8, 4)])
@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("backward", [1.0, 2.0, 3.0])
def test_the_bubble_of_equal_stages(ranks, virtuals, groups, backward):
    micro_batches = groups * ranks
    timeline = play(equal_stages(ranks, virtuals, backward), micro_batches)
    for rank in range(ranks):
        assert timeline.busy(rank) == pytest.approx(micro_batches * (1 + backward))
        assert timeline.bubble(rank) == pytest.approx((ranks - 1) / (virtuals * micro_batches))


@pytest.mark.parametrize(("ranks", "virtuals"), [(2, 1), (4, 1), (2, 2), (4, 2), (4, 4), (8, 3)])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_order_is_megatron_cores(ranks, virtuals, groups):
    """Its own functions say how many passes run ahead, and which micro-batch takes its turn on which chunk."""
    schedules = pytest.importorskip("megatron.core.pipeline_parallel.schedules")
    micro_batches = groups * ranks
    for rank in range(ranks):
        group = SimpleNamespace(size=lambda: ranks, rank=lambda at=rank: at)
        place = SimpleNamespace(pp_group=group, virtual_pipeline_model_parallel_size=virtuals if virtuals > 1 else None)
        total, _, ahead, _ = schedules.get_pp_rank_microbatches(micro_batches, virtuals, ranks, p2p_communicator=place)
        order = order_of_work(ranks, virtuals, micro_batches, rank)
        assert len(order) == 2 * total
        directions = "".join(work.direction[0] for work in order)
        assert directions == "f" * ahead + "fb" * (total - ahead) + "b" * ahead
        table = schedules.get_schedule_table(micro_batches, virtuals, ranks)
        forward = [work for work in order if work.direction == "forward"]
        backward = [work for work in order if work.direction == "backward"]
        if virtuals == 1:
            table = [(number, 0) for number in range(micro_batches)]
        assert [(work.micro_batch, work.virtual) for work in forward] == table
        assert [(work.micro_batch, virtuals - 1 - work.virtual) for work in backward] == table


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_micro_batches_in_flight(ranks):
    """Without virtual stages rank r keeps at most pp - r."""
    for rank in range(ranks):
        kept = most = 0
        for work in order_of_work(ranks, 1, 3 * ranks, rank):
            kept += 1 if work.direction == "forward" else -1
            most = max(most, kept)
        assert (most, kept) == (ranks - rank, 0)


def test_a_slow_stage_sets_the_pace():
    stages = tuple(StageTime(rank, 0, 2.0 if rank == 1 else 1.0, 4.0 if rank == 1 else 2.0) for rank in range(4))
    timeline = play(stages, 16)
    assert timeline.busy(1) == 16 * 6
    # It waits 1 s for its first forward pass, and from 7 s, three passes ahead, to 9 s for its first backward pass (one
    # pass through rank 2 and 3 and back, 2 × 1 + 2 × 2 s, from 3 s on); rank 0 ends 2 s after it.
    assert timeline.total == 1 + 16 * 6 + 2 + 2
    assert min(range(4), key=timeline.bubble) == 1


def test_counts_that_the_interleaved_schedule_cannot_run():
    message = "6 micro-batches are no multiple of 4 pipeline ranks, which virtual stages need"
    with pytest.raises(ValueError, match=re.escape(message)):
        order_of_work(4, 2, 6, 0)


def test_missing_stages():
    with pytest.raises(ValueError, match="3 stages are not the 2 × 2 of the pipeline"):
        play(equal_stages(2, 2)[:-1], 4)


def test_work_is_counted_by_stage():
    counts = Counter(work.virtual for work in order_of_work(2, 2, 4, 1))
    assert counts == {0: 8, 1: 8}
    assert order_of_work(1, 1, 2, 0) == (
        Work("forward", 0, 0),
        Work("backward", 0, 0),
        Work("forward", 1, 0),
        Work("backward", 1, 0),
    )
