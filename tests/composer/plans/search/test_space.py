"""The space against trying every size there is."""

from itertools import product
from typing import Any

import pytest
from attrs import evolve

from adapters.training.problems import TrainingError
from adapters.training.ranks import check_processes
from adapters.training.settings import Stage, Training
from composer.plans.execution import Execution
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.placement import PlacementError, place
from composer.plans.search.space import Space, frames
from tests.composer.plans.search.decoders import Layers, eight_gpus

JOB = Job(gpus=4, seq=512, global_batch=16)
LAYERS = 3


def every_execution(space: Space, decoder: Any, job: Job) -> list[Execution]:
    return [each for frame in frames(space, decoder, job, eight_gpus()) for each in frame.executions()]


def splits(pp: int) -> list[tuple[int | None, int | None]]:
    """Layers of the first and the last rank, written as the space writes them."""
    found: list[tuple[int | None, int | None]] = [(None, None)]
    if pp == 1:
        return found
    for first, last in product(range(LAYERS + 1), repeat=2):
        middle, left = divmod(LAYERS - first - last, pp - 2) if pp > 2 else (0, LAYERS - first - last)
        if left or middle < 0:
            continue
        even = first == last == LAYERS / pp
        if not even and (pp == 2 or (middle > 0 and max(first, last) <= middle)):
            found.append((first, last))
    return found


def accepted(execution: Execution) -> bool:
    """What the engine itself says of processes and batches, and Megatron-Core of layers."""
    layout = execution.layout
    settings = Training(
        stages=(Stage("all", 1, ("x",)),),
        layout=layout,
        micro_batch=execution.micro_batch,
        global_batch=JOB.global_batch,
        max_length=JOB.seq,
    )
    try:
        check_processes(settings, execution.gpus)
        place(LAYERS, layout)
    except (TrainingError, PlacementError):
        return False
    return True


def by_hand() -> set[Execution]:
    """Every execution on Megatron-Core of sizes up to the number of GPUs."""
    found = set()
    sizes = (1, 2, 4)
    for tp, cp, pp, ep, etp in product((1, 2), sizes, (1, 2, 3, 4), (1, 2, 4), (1, 2)):
        if etp not in {1, tp} or tp * cp * pp > JOB.gpus or JOB.gpus % (tp * cp * pp):
            continue
        for (first, last), virtual, size in product(splits(pp), range(1, LAYERS + 1), (1, 2, 4, 8, 16)):
            if pp == 1 and virtual > 1:
                continue
            layout = Layout(tp, pp, virtual, cp, ep, etp, tp > 1, first, last)
            ranks = JOB.gpus // (tp * cp * pp)
            for recompute, shared in product(("none", "selective", "full"), (False, True)):
                if shared and ranks * cp == 1:
                    continue
                execution = Execution(JOB.gpus, evolve(layout, recompute=recompute), size, shared, ranks > 1)
                if accepted(execution):
                    found.add(execution)
    return found


def test_nothing_is_left_out_and_nothing_is_refused_later() -> None:
    ours = every_execution(Space(engines=("megatron",)), Layers(LAYERS), JOB)
    assert len(ours) == len(set(ours))
    assert set(ours) == by_hand()


def test_zero() -> None:
    ours = every_execution(Space(engines=("deepspeed",)), Layers(LAYERS), JOB)
    found = {(each.micro_batch, each.zero.stage, each.zero.offload, each.layout.recompute) for each in ours}
    expected = {
        (size, stage, offload, recompute)
        for size, stage, offload, recompute in product(
            (1, 2, 4), range(4), (False, True), ("none", "selective", "full")
        )
        if stage or not offload
    }
    assert found == expected
    assert len(ours) == len(found)


@pytest.mark.parametrize(
    ("space", "kept"),
    [
        (Space(tp=(2,)), lambda e: e.layout.tp == 2),
        (Space(pp=(1, 2)), lambda e: e.layout.pp in {1, 2}),
        (Space(virtual_stages=(1,)), lambda e: e.layout.virtual_stages == 1),
        (Space(cp=(4,)), lambda e: e.layout.cp == 4),
        (Space(ep=(2,)), lambda e: e.layout.ep == 2),
        (Space(etp=(2,)), lambda e: e.layout.etp == 2),
        (Space(micro_batch=(2, 8)), lambda e: e.micro_batch in {2, 8}),
        (Space(recompute=("full",)), lambda e: e.layout.recompute == "full"),
        (Space(engines=("deepspeed",)), lambda e: e.engine == "deepspeed"),
    ],
)
def test_bounds_keep_exactly_what_they_say(space: Space, kept: Any) -> None:
    everything = every_execution(Space(), Layers(LAYERS), JOB)
    assert set(every_execution(space, Layers(LAYERS), JOB)) == {each for each in everything if kept(each)}
    assert any(kept(each) for each in everything)


def test_sequence_parallelism_is_a_choice_without_experts() -> None:
    ours = every_execution(Space(tp=(2,), engines=("megatron",)), Layers(LAYERS, num_experts=0), JOB)
    assert {each.layout.sequence_parallel for each in ours} == {False, True}


def test_zero_has_no_virtual_stages() -> None:
    assert every_execution(Space(virtual_stages=(2,), engines=("deepspeed",)), Layers(LAYERS), JOB) == []


def test_a_frame_counts_its_executions() -> None:
    for frame in frames(Space(), Layers(LAYERS), JOB, eight_gpus()):
        assert len(frame) == len(list(frame.executions()))
