"""Two plans are one experiment if nothing differs but how it is computed; every field is in exactly one group."""

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from attrs import evolve, frozen

from adapters.plans import differences
from adapters.plans.differences import ABSENT, Difference, compare, group_of
from adapters.training.settings import OptimizerSettings, Stage, Training
from adapters.training.settings_file import settings_text
from composer.plans.execution import Execution
from composer.plans.layout import Layout
from composer.plans.plan_file import Frozen, ParallelPlan, Source, plan_text
from tests.adapters.plans.plans import DENSE_CONFIG, INTERLEAVED_EXECUTION, JOB, PIPELINED_EXECUTION, estimate, plan

ROOT = Path(__file__).parents[3]
TRAINING = Training((Stage("align", 10, ("embed_vision",)), Stage("sft", 20, ("language_model",), lr=1e-5)))


def classified(owner):
    """(class, field) for each field that is in a group, and below those that have fields of their own."""
    for each in attrs.fields(owner):
        yield owner, each.name
        if group_of(owner, each.name) == "within":
            kinds = [each.type, *getattr(each.type, "__args__", ())]
            (inner,) = (kind for kind in kinds if isinstance(kind, type) and attrs.has(kind))
            yield from classified(inner)


@pytest.mark.parametrize("root", [ParallelPlan, Training])
def test_every_field_is_in_exactly_one_group(root):
    """A new field fails here until somebody says whether it makes another experiment."""
    seen = list(classified(root))
    assert len(seen) >= len(attrs.fields(root))
    known = {
        (owner, name) for owner, groups in differences._GROUPS.items() for names in groups.values() for name in names
    }
    gone = [(owner.__name__, name) for owner, name in known if name not in {each.name for each in attrs.fields(owner)}]
    assert gone == []


def test_a_field_without_a_group_is_an_error_and_not_a_guess():
    @frozen
    class Job:
        curriculum: str

    with pytest.raises(TypeError, match=r"Job.curriculum is in 0 groups of differences"):
        list(classified(Job))


def test_everything_a_plan_may_choose_is_the_same_experiment():
    other = plan(INTERLEAVED_EXECUTION)
    verdict = compare(plan(), other)
    assert verdict.same_experiment
    paths = {difference.path for difference in verdict.of("execution")}
    assert "estimate.execution.layout.pp" in paths
    assert "estimate.execution.micro_batch" in paths
    assert {difference.group for difference in verdict.differences} == {"execution", "expected"}


@pytest.mark.parametrize("name", [each.name for each in attrs.fields(Execution)])
def test_each_execution_field_alone(name):
    values = {
        "gpus": 64,
        "layout": Layout(recompute="full"),
        "micro_batch": 4,
        "distributed_optimizer": False,
        "overlap": False,
        "engine": "deepspeed",
        "zero": attrs.evolve(PIPELINED_EXECUTION.zero, stage=3),
    }
    changed = evolve(PIPELINED_EXECUTION, **{name: values[name]})
    verdict = compare(plan(), evolve(plan(), estimate=estimate(changed)))
    assert verdict.differences
    assert verdict.same_experiment


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("model.hash", {"model": Source("gemma4_vl", "feed")}),
        ("frozen.selectors", {"frozen": Frozen()}),
        ("frozen.stage", {"frozen": Frozen(stage="sft", selectors=("node:vision_tower",))}),
        ("job.seq", {"job": evolve(JOB, seq=8192)}),
        ("job.global_batch", {"job": evolve(JOB, global_batch=512)}),
        ("job.images", {"job": evolve(JOB, images=1)}),
        ("job.image_tokens", {"job": evolve(JOB, image_tokens=64)}),
        ("job.precision", {"job": evolve(JOB, precision="fp32")}),
        ("nodes[0].trained", {"nodes": (evolve(plan().nodes[0], trained=5), *plan().nodes[1:])}),
    ],
)
def test_each_convergence_field_alone(path, change):
    verdict = compare(plan(), plan(**change))
    assert not verdict.same_experiment
    assert [difference.path for difference in verdict.differences] == [path]


def test_names_of_one_model_are_no_difference_of_the_experiment():
    verdict = compare(plan(), plan(model=Source("specs/gemma4_vl.yaml", plan().model.hash, hf=DENSE_CONFIG)))
    assert verdict.same_experiment
    assert {difference.group for difference in verdict.differences} == {"record"}


def test_a_plan_that_does_not_say_what_its_selectors_come_to_is_compared_by_them():
    assert compare(plan(), plan(nodes=())).differences == ()
    assert not compare(plan(), plan(nodes=(), frozen=Frozen())).same_experiment


def test_training_files():
    faster = evolve(TRAINING, layout=Layout(tp=2), micro_batch=4, engine="deepspeed", print_every=9)
    assert compare(TRAINING, faster).same_experiment
    other = evolve(
        TRAINING,
        optimizer=OptimizerSettings(lr=2e-4, lr_multipliers={"vision_tower": 0.1}),
        stages=(*TRAINING.stages, Stage("more", 5, ("vision_tower",))),
    )
    verdict = compare(TRAINING, other)
    assert not verdict.same_experiment
    found = {difference.path: difference for difference in verdict.differences}
    assert found["optimizer.lr"] == Difference("optimizer.lr", "experiment", 1e-4, 2e-4)
    assert found["stages[2].steps"] == Difference("stages[2].steps", "experiment", ABSENT, 5)
    assert found["stages[2].name"].group == "record"
    assert found["optimizer.lr_multipliers.vision_tower"].second == 0.1
    assert "optimizer.lr_multipliers" not in found
    with pytest.raises(TypeError, match="a plan and a training file"):
        compare(TRAINING, plan())


def diff(*words):
    command = [sys.executable, "-m", "adapters.cli", "plan", "diff", *map(str, words)]
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "COLUMNS": "140"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command(tmp_path):
    first, second, third = (tmp_path / f"{name}.yaml" for name in "abc")
    first.write_text(plan_text(plan()), encoding="utf-8")
    second.write_text(plan_text(plan(INTERLEAVED_EXECUTION)), encoding="utf-8")
    third.write_text(plan_text(plan(job=evolve(JOB, precision="fp32"))), encoding="utf-8")
    same = diff(first, second)
    assert (same.returncode, same.stderr) == (0, "")
    assert same.stdout.startswith("The same experiment: ")
    assert "estimate.execution.layout.virtual_stages" in same.stdout
    new = diff(first, third, "--format", "json")
    assert new.returncode == 1
    assert json.loads(new.stdout) == {
        "same_experiment": False,
        "first": str(first),
        "second": str(third),
        "differences": [{"path": "job.precision", "group": "experiment", "first": "bf16", "second": "fp32"}],
    }
    assert diff(first, first).stdout == "The same experiment: nothing differs.\n"
    assert diff(first, third).stdout.startswith("A new experiment: ")


def test_the_command_on_training_files(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(settings_text(TRAINING), encoding="utf-8")
    second.write_text(settings_text(evolve(TRAINING, stages=TRAINING.stages[:1])), encoding="utf-8")
    found = diff(first, second, "--format", "json")
    assert found.returncode == 1, found.stderr
    lost = [entry for entry in json.loads(found.stdout)["differences"] if entry["path"] == "stages[1].lr"]
    assert lost == [{"path": "stages[1].lr", "group": "experiment", "first": 1e-5, "second": {"absent": True}}]
    second.write_text(plan_text(plan()), encoding="utf-8")
    mixed = diff(first, second)
    assert mixed.returncode == 2
    assert mixed.stderr == f"{first} is a training file, {second} a plan: compare two of a kind.\n"
    second.write_text("stages: [", encoding="utf-8")
    assert diff(first, second).returncode == 2
