"""Bytes of parameters, gradients and optimizer, by hand."""

import pytest

from composer.plans.execution import Execution
from composer.plans.job import Job
from composer.plans.layout import Layout, Zero
from composer.plans.memory.states import Held, Parameters, States, states

HELD = Held(all=100, tensor=800, expert=1600, expert_whole=40)
TRAINED = Held(all=10, tensor=400, expert=1600, expert_whole=40)


def _job(precision: str) -> Job:
    return Job(8, 64, 8, precision=precision)  # type: ignore[arg-type]


def test_one_rank():
    answer = states(Parameters(HELD, TRAINED), _job("bf16"), Execution(1))
    assert answer == States(2540 * 2, 2050 * 4, 2050 * 12)
    assert states(Parameters(HELD, TRAINED), _job("fp32"), Execution(1)) == States(2540 * 4, 2050 * 4, 2050 * 8)


def test_parts():
    execution = Execution(8, Layout(tp=4, ep=4, etp=2, sequence_parallel=True))
    held, trained = 100 + 200 + 200 + 10, 10 + 100 + 200 + 10
    answer = states(Parameters(HELD, TRAINED), _job("bf16"), execution)
    assert answer == States(held * 2, trained * 4, trained * 12)


def test_shared_optimizer_has_other_ranks_for_experts():
    execution = Execution(8, Layout(tp=2, cp=2, ep=4, sequence_parallel=True), distributed_optimizer=True)
    # Everything but experts is the same on 4 of 8 ranks (2 data, 2 context), each expert on 2.
    assert execution.data_ranks * 2 == 4
    dense, experts = 10 + 200, 400 + 10
    answer = states(Parameters(HELD, TRAINED), _job("bf16"), execution)
    assert answer.gradients == (dense + experts) * 4
    assert answer.optimizer == (-(-dense // 4) + experts // 2) * 12


@pytest.mark.parametrize(
    ("zero", "expected"),
    [
        (Zero(0), (1, 1, 1)),
        (Zero(1), (1, 1, 4)),
        (Zero(2), (1, 4, 4)),
        (Zero(3), (4, 4, 4)),
        (Zero(1, offload=True), (1, 1, 0)),
    ],
)
def test_zero_shares_out(zero: Zero, expected: tuple[int, int, int]):
    execution = Execution(4, engine="deepspeed", zero=zero)
    answer = states(Parameters(HELD, TRAINED), _job("bf16"), execution)
    whole = (2540 * 2, 2050 * 4, 2050 * 12)
    shares = tuple(0 if ranks == 0 else size // ranks for size, ranks in zip(whole, expected, strict=True))
    assert (answer.weights, answer.gradients, answer.optimizer) == shares
