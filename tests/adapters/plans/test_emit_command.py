"""`plan emit`, as it is called."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from adapters.training.settings import Stage, Training
from adapters.training.settings_file import load_settings, settings_text
from composer.plans.plan_file import Source, plan_text
from tests.adapters.plans.plans import DENSE_CONFIG, ZERO_EXECUTION, plan
from tests.parity.shipped_spec import SPEC

ROOT = Path(__file__).parents[3]


def emit(folder, *words):
    """The command, in a folder; what it printed, and its status."""
    command = [sys.executable, "-m", "adapters.cli", "plan", "emit", *map(str, words)]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my plan.yaml"
    path.write_text(plan_text(plan()), encoding="utf-8")
    return path


def test_a_folder_beside_the_plan(file, tmp_path):
    done = emit(tmp_path, file.name)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "my plan"
    assert {path.name for path in folder.iterdir()} == {"training.yaml", "run.sh", "job.sbatch", "megatron.args"}
    assert done.stdout.splitlines() == [
        f"{folder}: training.yaml, run.sh, job.sbatch, megatron.args",
        "No deepspeed.json: the plan is for Megatron-Core; ZeRO has none of its layout.",
        "Optimizer and schedule are defaults, for 100 steps: edit training.yaml.",
    ]
    assert (folder / "run.sh").stat().st_mode & 0o111
    head = (folder / "run.sh").read_text().splitlines()[1]
    assert head.startswith("# Written by vlm-composer ")
    assert head.endswith(": vlm-composer plan emit 'my plan.yaml'")


def test_paths_are_made_absolute_where_it_is_called(file, tmp_path):
    done = emit(tmp_path, file, "-o", "out", "--data", "d ata", "--weights", "../w", "--run", "r", "--steps", "7")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "run.sh").read_text()
    assert f"'{tmp_path}/d ata'" in text
    assert f"--weights={tmp_path}/../w" in text
    assert f"--output={tmp_path}/r" in text
    assert load_settings(tmp_path / "out" / "training.yaml").stages[0].steps == 7


def test_settings_get_the_plans_execution(tmp_path):
    file, settings = tmp_path / "plan.yaml", tmp_path / "settings.yaml"
    file.write_text(plan_text(plan(ZERO_EXECUTION)), encoding="utf-8")
    given = Training((Stage("sft", 9, ("language_model",)),), global_batch=256, precision="bf16", seed=3)
    settings.write_text(settings_text(given), encoding="utf-8")
    done = emit(tmp_path, file, "--settings", settings)
    assert done.returncode == 0, done.stderr
    read = load_settings(tmp_path / "plan" / "training.yaml")
    assert read == evolve(
        given, engine="deepspeed", transformer_impl="transformer_engine", zero=ZERO_EXECUTION.zero, overlap=True
    )
    settings.write_text(settings_text(evolve(given, stages=(Stage("sft", 9, ("language",)),))), encoding="utf-8")
    done = emit(tmp_path, file, "--settings", settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no node is called language. Did you mean 'language_model'?" in done.stderr


def test_a_plan_of_another_model_is_refused(tmp_path):
    file = tmp_path / "plan.yaml"
    made = plan()
    file.write_text(
        plan_text(evolve(made, model=Source(str(SPEC), made.model.hash, hf=DENSE_CONFIG))), encoding="utf-8"
    )
    done = emit(tmp_path, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}: was made for a model {made.model.hash};" in done.stderr
    assert not (tmp_path / "plan").exists()


def test_what_cannot_be_read(tmp_path, file):
    done = emit(tmp_path, "absent.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "absent.yaml: cannot be read" in done.stderr
    file.write_text(file.read_text().replace("micro_batch: 1", "micro_batsch: 1", 1), encoding="utf-8")
    done = emit(tmp_path, file)
    assert done.returncode == 2
    assert "unknown key. Did you mean 'micro_batch'?" in done.stderr
    done = emit(tmp_path, file, "--settings", "a.yaml", "--steps", "3")
    assert "give it or --settings, not both" in done.stderr


def test_emit_and_diff_import_nothing_heavy(file, tmp_path):
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"}
    for words in (["emit", file], ["diff", file, file]):
        command = [sys.executable, "-m", "adapters.cli", "plan", *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        imported = set(re.findall(r"\| +([\w]+)", done.stderr))
        assert done.returncode == 0
        assert "composer" in imported
        assert not imported & {"torch", "transformers", "megatron", "numpy", "deepspeed", "jinja2"}
