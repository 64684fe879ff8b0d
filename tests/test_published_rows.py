"""Published step times beside estimates: what is fitted, what is held out, and how far off the rows held out are."""

from pathlib import Path

import pytest
from attrs import evolve

from benchmarks.published_rows import FITTED, fit_a100, held_out_median, markdown, result, rows
from components.language.costs.decoder import GptCosts
from composer.plans.hardware_file import load_hardware
from composer.plans.time import time_of

pytestmark = pytest.mark.slow  # Gemma's inventory is built with torch


@pytest.fixture(scope="module")
def found() -> list:
    return list(rows())


def test_constants_are_fitted_to_four_rows_of_the_a100_only(found: list):
    assert [row.name for row in found if row.fitted] == [
        "GPT 22B, full recomputation",
        "GPT 22B, selective recomputation",
        "GPT 530B, full recomputation",
        "GPT 530B, selective recomputation",
    ]
    assert sum(row.gpu == "h100" for row in found) == 6
    assert not any(row.fitted for row in found if row.gpu == "h100")


def test_the_shipped_a100_is_that_fit(found: list):
    fitted, shipped = fit_a100(found).efficiency, load_hardware("a100").efficiency
    for name in FITTED:
        assert getattr(shipped, name) == pytest.approx(getattr(fitted, name), abs=6e-4)


def test_published_stacks_move_and_send_less_than_this_projects_own(found: list):
    row = next(row for row in found if row.name == "Qwen3-30B-A3B").observation
    own = evolve(row, model=evolve(row.model, decoder=GptCosts(row.model.decoder.section)))
    hardware = load_hardware("h100")
    theirs, ours = (time_of(each.model, each.job, each.execution, hardware) for each in (row, own))
    assert theirs.nodes["language_model"].likely < 0.95 * ours.nodes["language_model"].likely
    assert theirs.expert_parallel.likely < 0.3 * ours.expert_parallel.likely


def test_half_of_the_rows_held_out_are_within_15_percent(found: list):
    table = [result(row) for row in found]
    assert sum(row["use"] == "held out" for row in table) == 10
    assert held_out_median(table) <= 0.15


def test_the_page_shows_what_the_benchmark_prints(found: list):
    page = (Path(__file__).parents[1] / "docs" / "planning-time.md").read_text(encoding="utf-8")
    printed = markdown([result(row) for row in found]).splitlines()
    assert [line for line in printed if line and line not in page] == []


def test_every_row_of_megatrons_table_is_within_its_interval(found: list):
    for row in (row for row in found if row.gpu == "a100"):
        estimated = result(row)["estimated"]
        assert estimated["low"] <= row.observation.seconds <= estimated["high"], row.name


def test_own_steps_on_an_h100_are_within_their_intervals():
    from benchmarks.planner.own_steps import MEASURED, measured_host, step, wide_model

    model, hardware = wide_model(), measured_host()
    for implementation, seconds in MEASURED.items():
        total = step(model, hardware, implementation).total
        assert total.low <= seconds <= total.high


def test_memory_of_megatrons_table():
    """Activations, and states of a rank without embeddings; published to a hundredth of a GiB."""
    from benchmarks.estimators import published_memory

    for row in published_memory():
        assert row.own_kept == pytest.approx(row.kept, abs=0.01)
        if row.middle is not None:
            assert row.middle == pytest.approx(row.states, abs=0.02)
