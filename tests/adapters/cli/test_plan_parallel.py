"""plan parallel: what it answers, and what it says of a question that it cannot."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, evolve

from adapters.training.log import StepRecord
from adapters.training.run_file import Run as RunFile
from adapters.training.run_file import write_run
from adapters.training.settings import Stage, Training
from composer import load
from composer.plans.content import content_hash
from composer.plans.layout import Layout
from composer.plans.plan_file import parse_plan
from tests.adapters.cli.test_startup import COMMAND, HEAVY, ROOT, imported_by

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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--frozen", "vision_towr"), "Did you mean 'vision_tower'?"),
        (("--gpu", "h101"), "h101: no such file, and no shipped hardware has this name. Did you mean"),
        (("--image-tokens", "0"), "--image-tokens 0: a positive number is expected."),
        (("--tp", "2", "3"), "--tp 3: is not in the space, which has 1, 2, 4, 8."),
        (("--ep", "3"), "--ep 3: is not in the space, which has 1, 2, 4, 8, 16, 32, 64, 128."),
        (("--freeze-plan", "nowhere.yaml"), "nowhere.yaml: no such file or directory."),
    ],
)
def test_mistakes_in_names_and_numbers(run: Run, words: tuple[str, ...], told: str) -> None:
    outcome = run(*ASKED, *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert told in outcome.err


def test_what_is_frozen_changes_the_answer(run: Run) -> None:
    plans = [
        parse_plan(run(*BOUNDED, "--gpu", "b200", *words, "--format", "yaml").out, "printed")
        for words in ((), ("--frozen", "vision_tower"), ("--frozen", "decoder"))
    ]
    sizes = [plan.estimate.fullest.memory for plan in plans]
    assert sizes[0].towers > 1000 * sizes[1].towers  # of which only the places of features are left
    assert sizes[1].optimizer > sizes[2].optimizer
    assert plans[0].estimate.time.total.likely > plans[1].estimate.time.total.likely


def test_a_freeze_plan_says_what_trains(run: Run, tmp_path: Path) -> None:
    freeze = tmp_path / "freeze.yaml"
    assert run("plan", "freeze", SPEC, "-o", str(freeze)).status == 0
    several = run(*ASKED, "--freeze-plan", str(freeze))
    assert (several.status, several.err) == (2, f"{freeze} has the stages align, sft: choose one with --stage.\n")
    other = run(*ASKED, "--freeze-plan", str(freeze), "--stage", "stf")
    assert (other.status, other.err) == (2, f"{freeze} has no stage 'stf'. Did you mean 'sft'?\n")
    both = run(*ASKED, "--freeze-plan", str(freeze), "--frozen", "decoder")
    assert (both.status, both.err) == (2, "--frozen or --freeze-plan: give one of them.\n")
    planned = run(*BOUNDED, "--gpu", "b200", "--freeze-plan", str(freeze), "--stage", "sft", "--format", "yaml")
    selected = run(*BOUNDED, "--gpu", "b200", "--frozen", "tower", "--format", "yaml")
    plan, same = parse_plan(planned.out, "printed"), parse_plan(selected.out, "printed")
    assert (plan.frozen.plan, plan.frozen.stage) == (str(freeze), "sft")
    assert plan.estimate == same.estimate
    of_another = run(*ASKED, "--set", "hf.text_config.sliding_window=512", "--freeze-plan", str(freeze))
    assert of_another.status == 2
    assert "Make a new one: " in of_another.err


def test_nothing_fits_and_the_change_that_is_named_does(run: Run) -> None:
    words = ("--seq", "4096", "--global-batch", "64")
    outcome = run("plan", "parallel", SPEC, "--gpus", "2", *words)
    assert outcome.status == 3, outcome.err
    assert outcome.out == ""
    assert outcome.err.startswith("Nothing fits.")
    named = re.search(r"(\d+) GPUs instead of 2", outcome.err)
    assert named is not None
    assert run("plan", "parallel", SPEC, "--gpus", named[1], *words).status == 0
    assert run("plan", "parallel", SPEC, "--gpus", str(int(named[1]) // 2), *words).status == 3


def test_efficiencies_are_fitted_to_a_log(run: Run, tmp_path: Path) -> None:
    settings = Training(stages=(Stage("sft", 4, ("language_model",)),), micro_batch=1, global_batch=8, precision="bf16")
    write_run(
        tmp_path,
        RunFile(8, content_hash(load(Path(SPEC))), evolve(settings, layout=Layout(ep=8), distributed_optimizer=True)),
    )
    log = tmp_path / "log.jsonl"
    slow = {"tokens": 8 * 1024, "tokens_per_second": 8 * 1024 / 60, "samples_per_second": 8 / 60, "images": 8}
    steps = [StepRecord(step, "sft", 1.0, 1e-4, 1.0, peak_memory_gib=1.0, seconds=60.0, **slow) for step in range(1, 9)]
    log.write_text("".join(json.dumps(asdict(step)) + "\n" for step in steps), encoding="utf-8")
    words = (*BOUNDED, "--frozen", "decoder", "--format", "yaml")
    shipped, fitted = parse_plan(run(*words).out, "a"), parse_plan(run(*words, "--calibrate", str(log)).out, "b")
    asked, told = shipped.hardware, fitted.hardware
    assert evolve(told, efficiency=asked.efficiency, launch_us=asked.launch_us, sources=asked.sources) == asked
    assert (told.efficiency, told.launch_us) != (asked.efficiency, asked.launch_us)
    assert told.sources[-1] == f"efficiency, launch_us: fitted to {log}"
    assert fitted.estimate.time.total.likely > shipped.estimate.time.total.likely
    alone = tmp_path / "alone.jsonl"
    alone.write_text("")
    assert run(*words, "--calibrate", str(alone)).status == 2


@pytest.mark.slow
def test_shards_are_verified(run: Run) -> None:
    outcome = run("plan", "parallel", SPEC, "--gpus", "64", "--seq", "4096", "--global-batch", "512", "--verify")
    assert outcome.status == 0, outcome.err
    assert "equal" in outcome.out


@pytest.mark.slow
def test_a_thousand_gpus(run: Run) -> None:
    """How long it takes is measured by `benchmarks/plan_search.py`."""
    words = ("--gpus", "1024", "--seq", "8192", "--global-batch", "4096", "--images", "4")
    outcome = run("plan", "parallel", SPEC, *words)
    assert outcome.status == 0, outcome.err
    for told in ("Memory of a GPU", "Time of a step", "Why not", "tensor parallelism over a node (tp8)", "Decided by"):
        assert told in outcome.out


def test_a_known_model_is_planned_without_torch() -> None:
    words = ("plan", "parallel", "gemma4_vl", "--gpus", "8", "--seq", "4096", "--global-batch", "32")
    subprocess.run([COMMAND, *words], cwd=ROOT, capture_output=True, check=True)  # now it is known
    done, imported = imported_by(*words)
    assert done.returncode == 0, done.stderr
    assert not imported & HEAVY


def test_what_the_numbers_do_not_rest_on_is_told(run: Run) -> None:
    told = {
        "mistral3": "multi_modal_projector could not be run",
        "llava": "vision_tower costs the same whatever --image-tokens says: give it the rows that the tower makes.",
    }
    for spec, words in told.items():
        asked = ("plan", "parallel", spec, "--gpus", "8", "--seq", "1024", "--global-batch", "8")
        printed, written = run(*asked), run(*asked, "--format", "yaml")
        plan = parse_plan(written.out, "printed")
        assert any(words in note for note in plan.notes)
        assert printed.out.count("Note: ") == len(plan.notes)


def test_zero_3_with_experts_is_warned_of(run: Run) -> None:
    words = (*ASKED, "--engine", "deepspeed", "--gpu", "b200", "--format", "yaml")
    roomy, tight = (parse_plan(run(*words, "--fill", fill).out, "printed") for fill in ("1", "0.5"))
    assert (roomy.execution.zero.stage, tight.execution.zero.stage) == (2, 3)
    assert roomy.notes == ()
    assert tight.notes[0].startswith("ZeRO-3 gathers all 128 experts")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  gpus: 8\n  seq", "  gpus: 6\n  seq", "job.gpus: 6, but estimate.execution.gpus is 8."),
        ("  global_batch: 8", "  global_batch: 6", "job.global_batch: 6 is no multiple of"),
        ("      pp: 1", "      pp: 0", "estimate.execution.layout.pp: 0 is not positive."),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(run: Run, tmp_path: Path, old: str, new: str, told: str) -> None:
    text = run(*BOUNDED, "--frozen", "decoder", "--format", "yaml").out
    assert old in text
    file = tmp_path / "plan.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    outcome = run("plan", "emit", str(file))
    assert outcome.status == 2
    assert told in outcome.err
