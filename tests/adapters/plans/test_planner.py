"""Branch and bound on a real model's costs, against looking at every execution of the space."""

from collections import Counter
from typing import Any

import pytest
from attrs import evolve

from adapters.plans.planned import planned_model
from composer import Graph
from composer.plans.answer import GIB, Estimate
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.memory import memory_of
from composer.plans.model import PlannedModel
from composer.plans.planner import Planner
from composer.plans.search.search import search
from composer.plans.search.space import Frame, Space
from composer.plans.time import time_of
from tests.composer.plans.search.decoders import eight_gpus

BEST = 4
FREEZES = {"all trained": (), "tower frozen": ("tower",), "decoder frozen": ("decoder",)}
SHARES = {"loose": 1.0, "half": 0.5, "tight": 0.03}
"""Share of all executions that are to fit."""


@pytest.fixture(scope="module", params=FREEZES)
def model(request: pytest.FixtureRequest, experts_graph: Graph) -> PlannedModel:
    return planned_model(experts_graph, FREEZES[request.param])


def asked(gpus: int) -> tuple[Job, Space]:
    """A job, and bounds that keep the number of its executions to some thousands."""
    return Job(gpus, 256, 2 * gpus, images=1, image_tokens=16), Space(micro_batch=(1, 2) if gpus < 8 else (1,))


def machine(memory_gib: float = 80) -> Hardware:
    return evolve(eight_gpus(), memory_gib=memory_gib, reserve_gib=0)


def sizes(estimate: Estimate) -> tuple[Any, ...]:
    execution, layout = estimate.execution, estimate.execution.layout
    return execution.engine, execution.zero, layout.tp, layout.pp, layout.cp, layout.ep, layout.etp


def everything(model: PlannedModel, job: Job, space: Space) -> dict[Frame, list[Estimate]]:
    """Every execution, by frame, by the estimates themselves."""
    card = machine()
    planner = Planner(model, job, card)
    made = {}
    for frame in planner.frames(space, Counter()):
        made[frame] = [planner.estimate(each, memory_of(model, job, each, card)) for each in frame.executions()]
        assert all(each.time == time_of(model, job, each.execution, card) for each in made[frame])
    return made


def expected(estimates: list[Estimate], limit: int) -> list[Estimate]:
    fitting = [each for each in estimates if max(rank.memory.total for rank in each.memory) <= limit]
    fitting.sort(key=lambda each: (each.time.total.likely, each.fullest.memory.total, str(each.execution)))
    first: dict[Any, Estimate] = {}
    for each in fitting:
        first.setdefault(sizes(each), each)
    return list(first.values())[:BEST]


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_bounds_hold_and_the_search_finds_what_looking_at_everything_finds(model: PlannedModel, gpus: int) -> None:
    job, space = asked(gpus)
    every = everything(model, job, space)
    planner = Planner(model, job, machine())
    for frame, made in every.items():
        assert planner.shortest(frame) <= min(each.time.total.likely for each in made) * (1 + 1e-12)
        assert planner.leanest(frame) <= min(each.fullest.memory.total for each in made)
        for each in made:
            assert planner.quickest(each.execution) <= each.time.total.likely * (1 + 1e-12)
    estimates = [each for made in every.values() for each in made]
    needs = sorted(each.fullest.memory.total for each in estimates)
    for share in SHARES.values():
        wanted = needs[int(share * (len(needs) - 1))]
        tight = Planner(model, job, machine(wanted / GIB))
        found = search(tight, tight.frames(space, Counter()))
        assert list(found.best) == expected(estimates, tight.limit)
        assert found.best
        assert found.considered == len(estimates)


def test_fill_is_a_share_of_the_memory(experts_graph: Graph) -> None:
    job, space = asked(2)
    model = planned_model(experts_graph)
    estimates = [each for made in everything(model, job, space).values() for each in made]
    needs = sorted(each.fullest.memory.total for each in estimates)
    planner = Planner(model, job, machine(2 * needs[len(needs) // 3] / GIB), fill=0.5)
    assert planner.limit == needs[len(needs) // 3]
    found = search(planner, planner.frames(space, Counter()))
    assert list(found.best) == expected(estimates, planner.limit)
    none = Planner(model, job, machine(2 * needs[0] / GIB), fill=0.49)
    missed = search(none, none.frames(space, Counter()))
    assert missed.best == ()
    assert missed.smallest is not None
    assert missed.smallest.fullest.memory.total == needs[0]
