"""Memory of pipeline ranks of a made-up model, by hand."""

import itertools

import pytest
from attrs import evolve

from composer.plans.answer import GIB, Memory
from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.memory import leanest, memory_of
from composer.plans.model import PlannedModel
from tests.composer.plans.memory.decoder import model

CARD = Hardware("card", 80, 1, 1, 1, 1, 1, 1, 1, 1, reserve_gib=0, efficiency=Efficiency(1, 1, 1, 1, 1))
JOB = Job(8, seq=16, global_batch=16, images=2, image_tokens=3)
NEAR, FAR = 16, 160  # tokens that a layer of each kind counts


def memory(planned: PlannedModel, execution: Execution, job: Job = JOB) -> list[Memory]:
    return [rank.memory for rank in memory_of(planned, job, execution, CARD)]


def test_one_rank():
    [found] = memory(model("near", "far"), Execution(1))
    elements = 300 + 200 + 1000 + 10 + 2 * (400 + 8 * 160)
    assert (found.weights, found.gradients, found.optimizer) == (elements * 2, elements * 4, elements * 12)
    assert found.activations == 6 * (NEAR + FAR) + 8 * NEAR + 2 * NEAR
    assert found.masks == NEAR
    # Two images of three rows, 6 elements of 2 bytes a row in both nodes; and where six rows go.
    assert found.towers == 2 * 3 * 6 * 2 * 2 + 6 * 16
    # At a layer, the tied table's gradient waits: more than the logits and theirs.
    assert (found.logits, found.transient) == (0, 7 * FAR + 100 * 10 * 2)


def test_fullest_at_the_logits_where_layers_are_lean():
    [found] = memory(model("near", tied=False), Execution(1), evolve(JOB, seq=160))
    assert (found.logits, found.transient) == (50 * 160, 20 * 160)


def test_pipeline():
    first, last = memory(model("near", "far"), Execution(2, Layout(pp=2)))
    # Two micro-batches are in flight on the first rank.
    assert first.activations == 2 * (6 * NEAR + 8 * NEAR)
    assert last.activations == 6 * FAR + 2 * NEAR
    assert (first.towers, last.towers) == (2 * (2 * 3 * 6 * 2 * 2 + 6 * 16), 0)
    assert first.weights == 2 * (300 + 200 + 1000 + 400 + 8 * 160)
    assert last.weights == 2 * (1000 + 10 + 400 + 8 * 160)
    # A message in either direction; what is sent is held for each of two micro-batches.
    message = 16 * 10 * 2
    assert (first.communication, last.communication) == (2 * message + 2 * message, 2 * message)


def test_frozen_layers_before_the_first_that_trains_keep_nothing():
    planned = model("near", "near", "near", trains=("decoder.layers.1.attention",))
    [found] = memory(planned, Execution(1))
    # Layers 1 and 2 pass a gradient; of the experts' weights nothing is kept.
    assert found.activations == 2 * 4 * NEAR + NEAR
    assert found.towers == 0


def test_a_later_stage_passes_a_gradient_whatever_trains():
    planned = model("near", "near", "near", "near", trains=("projector",))
    first, last = memory(planned, Execution(2, Layout(pp=2)))
    assert first.activations == 2 * 2 * 4 * NEAR
    assert last.activations == 2 * 4 * NEAR + NEAR
    only_norm = model("near", "near", trains=("decoder.norm",))
    first, last = memory(only_norm, Execution(2, Layout(pp=2)))
    assert (first.activations, last.activations) == (0, 4 * NEAR + NEAR)


def test_frozen_projector_under_a_tower_that_trains():
    [found] = memory(model("near", trains=("tower",)), Execution(1))
    assert found.towers == 2 * 3 * (6 + 3) * 2 + 6 * 16
    [found] = memory(model("near", trains=("projector",)), Execution(1))
    assert found.towers == 2 * 3 * 6 * 2 + 6 * 16


@pytest.mark.parametrize(("images", "share"), [(2, 1), (3, 2), (1, 1), (0, 0)])
def test_images_are_dealt_out(images: int, share: int):
    found = memory(model("near"), Execution(2, Layout(cp=2)), evolve(JOB, images=images))[0]
    # The projector runs on the features of all images everywhere.
    assert found.towers == 3 * 6 * 2 * (share + images) + 3 * images * 16


def test_reserve():
    planned = model("near")
    answer = memory_of(planned, JOB, Execution(1), evolve(CARD, reserve_gib=1.5))
    assert answer[0].memory.reserve == 1.5 * GIB


def test_zero_has_buckets():
    deepspeed = Execution(4, engine="deepspeed")
    assert memory(model("near"), deepspeed)[0].communication == 0
    shared = evolve(deepspeed, zero=evolve(deepspeed.zero, stage=2))
    assert memory(model("near"), shared)[0].communication == 4 * 50_000_000


@pytest.mark.parametrize("tied", [True, False])
def test_leanest_is_a_lower_bound(tied: bool):
    planned = model("near", "far", "far", "near", tied=tied)
    for pp, first, shared in itertools.product((1, 2, 4), (None, 0, 1), (True, False)):
        if first is not None and (pp == 1 or (4 - first) % (pp - 1)):
            continue
        execution = Execution(16, Layout(pp=pp, ep=2, first_stage_layers=first), distributed_optimizer=shared)
        ranks = memory_of(planned, JOB, execution, CARD)
        bound = leanest(planned, JOB, execution, CARD)
        assert 0 < bound <= max(rank.memory.total for rank in ranks)
