"""A plan file says everything of a plan."""

import pytest
from attrs import evolve

from composer.plans.plan_file import NodeParameters, parse_plan, plan_text
from tests.adapters.plans.plans import INTERLEAVED_EXECUTION, PIPELINED_EXECUTION, ZERO_EXECUTION, plan


@pytest.mark.parametrize("execution", [PIPELINED_EXECUTION, INTERLEAVED_EXECUTION, ZERO_EXECUTION])
def test_it_reads_back_to_the_same_plan(execution):
    made = plan(execution)
    assert made.nodes
    assert made.stages
    assert parse_plan(plan_text(made), "plan.yaml") == made


def test_plans_without_nodes_and_stages_can_be_read():
    text = plan_text(evolve(plan(), nodes=(), stages=()))
    text = text.replace("nodes: []\n", "").replace("stages: []\n", "")
    assert "\nstages:" not in text
    assert parse_plan(text, "plan.yaml") == plan(nodes=(), stages=())


@pytest.mark.parametrize(("trained", "state"), [(0, "frozen"), (3, "partly"), (10, "trained")])
def test_how_much_of_a_node_trains(trained, state):
    assert NodeParameters("a", 10, trained).state == state
