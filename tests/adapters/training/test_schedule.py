"""The learning rate over a stage."""

import math

import pytest

from adapters.training.loop import stage_schedule
from adapters.training.schedule import Schedule
from adapters.training.settings import OptimizerSettings, Stage, Training


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    schedule = Schedule(peak=2.0, end=0.0, warmup=4, total=10)
    assert [schedule.lr(step) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


def test_cosine_falls_to_the_end() -> None:
    schedule = Schedule(peak=1.0, end=0.1, warmup=0, total=100)
    rates = [schedule.lr(step) for step in range(100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[50] == pytest.approx(0.55)
    assert rates[25] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi / 4)))
    assert 0.1 < rates[-1] < 0.101


def test_a_stage_overrides_the_optimizer() -> None:
    plain, own = Stage("a", 10, ("x",)), Stage("b", 20, ("x",), lr=5.0, warmup_steps=0)
    settings = Training((plain, own), optimizer=OptimizerSettings(lr=1.0, min_lr=0.5, warmup_steps=3))
    assert stage_schedule(plain, settings) == Schedule(1.0, 0.5, 3, 10)
    assert stage_schedule(own, settings) == Schedule(5.0, 0.5, 0, 20)
