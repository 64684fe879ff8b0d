"""plan parallel: what it answers, and what it says of a question that it cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from composer.plans.plan_file import parse_plan
from tests.adapters.cli.test_startup import ROOT

Run = Callable[..., Any]
SPEC = str(ROOT / "specs" / "gemma4_vl.yaml")
ASKED = ("plan", "parallel", SPEC, "--gpus", "8", "--seq", "1024", "--global-batch", "8", "--micro-batch", "1")
BOUNDED = (*ASKED, "--tp", "2", "--pp", "1", "--cp", "1", "2", "--engine", "megatron")


def test_the_written_plan_reads_back_and_keeps_to_bounds(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    printed = run(*BOUNDED, "--frozen", "decoder", "--format", "yaml", "-o", str(file))
    assert printed.status == 0, printed.err
    assert printed.out == file.read_text(encoding="utf-8")
    plan = parse_plan(printed.out, "printed")
    assert plan == parse_plan(file.read_text(encoding="utf-8"), str(file))
    assert plan.frozen.selectors == ("decoder",)
    for each in (plan.estimate, *plan.alternatives):
        layout = each.execution.layout
        assert (layout.tp, layout.pp, each.execution.engine) == (2, 1, "megatron")
        assert layout.cp in {1, 2}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--frozen", "all"), "Nothing trains: leave something out of --frozen."),
        (("--frozen", "tower & decoder"), "--frozen tower & decoder: tower & decoder selects nothing."),
        (("--stage", "sft"), "--stage names a stage of --freeze-plan: give both."),
        (("--fill", "1.5"), "--fill 1.5: a share above 0 and at most 1 is expected."),
        (("--images", "5"), "--images and --image-tokens: 1280 placeholders do not fit in --seq 1024."),
    ],
)
def test_mistakes(run: Run, words: tuple[str, ...], told: str) -> None:
    outcome = run(*ASKED, *words)
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"{told}\n")


def test_nothing_fits(run: Run) -> None:
    outcome = run(*BOUNDED, "--fill", "0.05", "--frozen", "decoder")
    assert outcome.status == 3, outcome.err
    assert outcome.err.startswith("Nothing fits.")
