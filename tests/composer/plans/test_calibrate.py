"""Constants fitted to timed steps: found again where they are known, and better on steps that were not seen."""

import pytest
from attrs import evolve

from composer.plans.calibrate import Observation, calibrate
from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.layout import Layout
from composer.plans.time import time_of
from tests.composer.plans.time.models import job, machine, model

LAYOUTS = (Layout(), Layout(tp=2), Layout(tp=4), Layout(pp=2), Layout(ep=8), Layout(tp=2, pp=2))


def timed(hardware: Hardware, noise: float = 0.0) -> list[Observation]:
    """What a machine would take, a little off to either side."""
    found = []
    for number, layout in enumerate(LAYOUTS):
        for launches in (0, 300):
            made = model(launches=launches)
            seconds = time_of(made, job(8, 16), Execution(8, layout), hardware).total.likely
            found.append(Observation(made, job(8, 16), Execution(8, layout), seconds * (1 + noise * (-1) ** number)))
    return found


def error(hardware: Hardware, observations: list[Observation]) -> float:
    return sum(abs(each.error(hardware)) for each in observations) / len(observations)


SHIPPED = machine(launch_us=5)
REAL = evolve(SHIPPED, efficiency=Efficiency(0.6, 1, 1, 1, 0.7), launch_us=9)


def test_nothing_observed_nothing_changed():
    assert calibrate(SHIPPED, []) == SHIPPED


def test_what_is_right_stays():
    fitted = calibrate(SHIPPED, timed(SHIPPED))
    assert fitted.efficiency.gemm == pytest.approx(1, abs=0.02)
    assert fitted.launch_us == pytest.approx(5, rel=0.03)


def test_constants_are_found_again():
    fitted = calibrate(SHIPPED, timed(REAL), trust=2.0)
    assert fitted.efficiency.gemm == pytest.approx(0.6, rel=0.05)
    assert fitted.launch_us == pytest.approx(9, rel=0.05)


def test_unseen_steps_are_met_better():
    observations = timed(REAL, noise=0.05)
    seen, unseen = observations[:6], observations[6:]  # three layouts each
    assert error(calibrate(SHIPPED, seen), unseen) < 0.3 * error(SHIPPED, unseen)


def test_shares_stay_shares():
    faster = [evolve(each, seconds=each.seconds / 3) for each in timed(SHIPPED)]
    assert calibrate(SHIPPED, faster).efficiency.gemm <= 1


def test_a_constant_that_nothing_tells_of_stays():
    fitted = calibrate(SHIPPED, timed(REAL))
    assert fitted.efficiency.attention == pytest.approx(1)


def test_only_what_may_change_does():
    fitted = calibrate(SHIPPED, timed(REAL), ("gemm",))
    assert fitted.launch_us == SHIPPED.launch_us
    assert fitted.efficiency.network == SHIPPED.efficiency.network


def test_one_odd_step_does_not_carry_a_constant_away():
    odd = [evolve(each, seconds=each.seconds * (8 if number == 0 else 1)) for number, each in enumerate(timed(SHIPPED))]
    assert calibrate(SHIPPED, odd).efficiency.gemm > 0.8
