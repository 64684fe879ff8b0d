"""A plan written out: files that their readers read, and scripts through which every value arrives as given."""

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import evolve, fields

from adapters.cli.app import make_app
from adapters.cli.plan_emit import model_options
from adapters.plans.megatron_arguments import execution_arguments
from adapters.plans.problems import PlanUseError
from adapters.plans.reading import PlanFile
from adapters.plans.scripts import Command, Nodes, run_script, slurm_script
from adapters.plans.training_settings import fresh_settings, planned_settings, settings_notes
from adapters.plans.writing import DEEPSPEED, MARK, MEGATRON, RUN, SLURM, TRAINING, visible, write_out
from adapters.training.ranks import LaunchError
from adapters.training.settings import OptimizerSettings, Stage, Training
from adapters.training.settings_file import load_settings
from adapters.training.setup import check_settings
from composer.plans.execution import Execution
from composer.plans.layout import Layout
from composer.plans.plan_file import Frozen, NodeParameters, Source
from tests.adapters.plans.plans import INTERLEAVED_EXECUTION, PIPELINED_EXECUTION, ZERO_EXECUTION, plan, shipped
from tests.adapters.plans.tools import program

HOSTILE = (
    "with space",
    "it's",
    'say "x"',
    "$(touch owned)",
    "`touch owned`",
    "line\nbreak",
    "-n",
    "*",
    "\\",
    "!!",
    "ü;#&|<>",
    "trailing\n",
)
COMMAND = Command("gemma4_vl", "/data", (("--output", "/runs/a"),))
EXECUTIONS = {"pipelined": PIPELINED_EXECUTION, "interleaved": INTERLEAVED_EXECUTION, "zero": ZERO_EXECUTION}
GIVEN = Training(
    (Stage("sft", 700, ("embed_vision", "language_model"), lr=3e-6),),
    micro_batch=8,
    global_batch=256,
    max_length=4096,
    seed=11,
    precision="bf16",
    distributed_optimizer=False,
    optimizer=OptimizerSettings(lr=2e-5, warmup_steps=30),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    """One for all of these: what the shipped model consists of is found once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def written(execution, folder, **changes):
    made = plan(execution)
    file = PlanFile(Path("plan.yaml"), "0123456789abcdef", made)
    settings = changes.pop("settings", None) or fresh_settings(made, shipped(), 100)
    return write_out(file, shipped(), settings, changes.pop("command", COMMAND), folder, ["Written by a test\nof ours"])


@pytest.mark.parametrize("name", EXECUTIONS)
def test_the_training_file_has_the_plans_execution(name, tmp_path):
    execution = EXECUTIONS[name]
    written(execution, tmp_path).save(tmp_path)
    read = load_settings(tmp_path / TRAINING)
    same = {"layout", "micro_batch", "distributed_optimizer", "overlap", "engine", "zero"}
    assert {field.name for field in fields(Execution)} - {"gpus"} == same
    assert all(getattr(read, field) == getattr(execution, field) for field in same)
    job = plan(execution).job
    assert (read.global_batch, read.max_length, read.precision) == (job.global_batch, job.seq, job.precision)
    assert read.transformer_impl == job.implementation
    assert read.stages == (Stage("train", 100, ("embed_vision", "language_model")),)
    check_settings(read, shipped())


@pytest.mark.parametrize("name", EXECUTIONS)
def test_settings_that_are_given_keep_all_that_is_no_execution(name):
    execution = EXECUTIONS[name]
    merged = planned_settings(plan(execution), GIVEN)
    changed = {field.name for field in fields(Training) if getattr(merged, field.name) != getattr(GIVEN, field.name)}
    assert changed <= {
        "engine",
        "transformer_impl",
        "layout",
        "micro_batch",
        "distributed_optimizer",
        "overlap",
        "zero",
    }
    assert merged.layout == execution.layout
    assert (merged.optimizer, merged.seed, merged.stages) == (GIVEN.optimizer, GIVEN.seed, GIVEN.stages)


def test_settings_of_another_experiment_are_refused_with_all_that_differs():
    other = evolve(GIVEN, global_batch=64, max_length=2048, precision="fp32")
    with pytest.raises(PlanUseError) as error:
        planned_settings(plan(), other)
    assert str(error.value) == (
        "The settings are another experiment than the plan: global_batch is 64, the plan is for 256; max_length is "
        "2048, the plan is for 4096; precision is fp32, the plan is for bf16. A plan changes how a step is computed, "
        "never what it computes: change the settings, or plan for them."
    )


def test_what_the_plan_has_not_looked_at_is_said():
    wider = evolve(GIVEN, stages=(*GIVEN.stages, Stage("all", 5, ("vision_tower", "language_model"))))
    thawed, pictures = settings_notes(plan(), wider, shipped())
    assert thawed == "stage all trains more of vision_tower than the plan: its memory and time are not planned."
    assert pictures.startswith("pictures.max_features is 280, the plan counts with 256 rows of a picture: towers may")
    assert settings_notes(plan(), fresh_settings(plan(), shipped(), 1), shipped()) == []


def test_what_trains_without_settings():
    """By node, by selector where a node trains in part, by the freeze plan if there is one."""
    everything = fresh_settings(plan(nodes=(), frozen=Frozen()), shipped(), 1)
    assert everything.stages[0].trains == tuple(shipped().nodes)
    part = (NodeParameters("language_model", 10, 3),)
    selectors = Frozen(selectors=("vision_tower", "layers(0..3) - norms"))
    parts = fresh_settings(plan(nodes=part, frozen=selectors), shipped(), 1)
    assert parts.stages[0].trains == ("all - ((vision_tower) | (layers(0..3) - norms))",)
    check_settings(parts, shipped())
    planned = fresh_settings(plan(frozen=Frozen("freeze.yaml", "align")), shipped(), 1)
    assert (planned.freeze_plan, planned.stages) == (str(Path.cwd() / "freeze.yaml"), (Stage("align", 1),))
    assert settings_notes(plan(frozen=Frozen("freeze.yaml", "align")), planned, shipped()) == []
    (note,) = settings_notes(plan(frozen=Frozen("freeze.yaml", "sft")), planned, shipped())
    assert "is not what the plan was made for" in note
    with pytest.raises(PlanUseError, match="--settings FILE"):
        fresh_settings(plan(nodes=part, frozen=Frozen("freeze.yaml")), shipped(), 1)


def test_deepspeed_reads_its_file(tmp_path, monkeypatch):
    config = pytest.importorskip("deepspeed.runtime.config")
    monkeypatch.setattr(config.dist, "get_rank", lambda: 0)  # asked before the number of ranks
    found = written(ZERO_EXECUTION, tmp_path)
    found.save(tmp_path)
    ranks = SimpleNamespace(get_data_parallel_world_size=lambda: ZERO_EXECUTION.data_ranks)
    read = config.DeepSpeedConfig(str(tmp_path / DEEPSPEED), mpu=ranks)
    assert read.train_batch_size == 256
    assert read.train_micro_batch_size_per_gpu == ZERO_EXECUTION.micro_batch
    assert read.zero_optimization_stage == 2
    assert read.zero_config.overlap_comm is True
    assert read.bfloat16_config.enabled
    with pytest.raises(AssertionError, match=r"256 != 1 . 8 . 16"):
        config.DeepSpeedConfig(str(tmp_path / DEEPSPEED), mpu=SimpleNamespace(get_data_parallel_world_size=lambda: 16))
    assert json.loads(found.files[DEEPSPEED])[MARK] == ["Written by a test\\nof ours"]
    assert "ZeRO" in found.absent[MEGATRON]


def test_files_that_a_plan_has_not_are_taken_away_if_they_were_ours(tmp_path):
    before = written(PIPELINED_EXECUTION, tmp_path)
    before.files[MEGATRON] = "# Written by vlm-composer\n--bf16\n"
    before.save(tmp_path)
    assert (tmp_path / MEGATRON).exists()
    written(ZERO_EXECUTION, tmp_path).save(tmp_path)
    assert not (tmp_path / MEGATRON).exists()
    (tmp_path / DEEPSPEED).write_text("{}")
    written(PIPELINED_EXECUTION, tmp_path).save(tmp_path)
    assert (tmp_path / DEEPSPEED).read_text() == "{}"


def test_a_batch_that_the_gpus_cannot_share_is_refused(tmp_path):
    with pytest.raises(LaunchError, match="global_batch: 256 is no multiple of"):
        written(Execution(24, Layout(tp=2, sequence_parallel=True)), tmp_path)


@pytest.mark.parametrize(
    ("gpus", "node_gpus", "wanted"),
    [(1, 8, (1, 1)), (8, 8, (1, 8)), (32, 8, (4, 8)), (12, 8, (2, 6)), (6, 4, (2, 3)), (7, 4, (7, 1))],
)
def test_machines_share_gpus_evenly(gpus, node_gpus, wanted):
    assert Nodes.of(gpus, node_gpus) == Nodes(*wanted)


def test_a_line_break_cannot_leave_a_comment(tmp_path):
    found = written(PIPELINED_EXECUTION, tmp_path)
    assert visible("a\nb\t\x1b[0m") == "a\\nb\\t\\x1b[0m"
    for name in (TRAINING, MEGATRON, RUN, SLURM):
        assert "# Written by a test\\nof ours\n" in found.files[name]


def scripts(command, nodes, folder, name="gemma4_vl"):
    return {
        RUN: run_script(["words"], command, nodes),
        SLURM: slurm_script(["words"], command, nodes, str(folder), name),
    }


@pytest.fixture
def launchers(tmp_path, monkeypatch):
    """torchrun and srun that write down the words they were given, a NUL behind each."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    for name in ("torchrun", "srun"):
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" > {tmp_path}/words\n')
        path.chmod(0o755)

    def run(path, *words, **environment):
        done = subprocess.run(
            ["bash", str(path), *words],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        arrived = tmp_path / "words"
        return done, arrived.read_bytes().decode().split("\0")[:-1] if arrived.exists() else []

    return run


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
@pytest.mark.parametrize("script", [RUN, SLURM])
def test_every_value_arrives_as_given(value, script, tmp_path, launchers):
    options = (
        ("--set", f"nodes.x={value}"),
        ("--hf", value),
        ("--weights", f"/w/{value}"),
        ("--output", f"/r/{value}"),
    )
    command = Command(f"/specs/{value}", f"/data/{value}", options)
    folder = tmp_path / "plan's folder"
    folder.mkdir()
    path = folder / script
    path.write_text(scripts(command, Nodes(1, 8), folder)[script], encoding="utf-8")
    done, words = launchers(path, "--dry-run", value)
    assert done.returncode == 0, done.stderr
    train = words[words.index("vlm-composer") :]
    wanted = ["vlm-composer", "train", f"/specs/{value}", f"{folder}/training.yaml", f"/data/{value}"]
    wanted += [f"{name}={given}" for name, given in options]
    assert train == [*wanted, "--dry-run", value]
    assert not list(tmp_path.rglob("owned"))


def test_a_script_can_be_started_from_anywhere_and_its_folder_moved(tmp_path, launchers):
    path = tmp_path / "moved $(here)" / RUN
    path.parent.mkdir()
    path.write_text(scripts(COMMAND, Nodes(1, 2), "/elsewhere")[RUN])
    done, words = launchers(path)
    assert done.returncode == 0, done.stderr
    assert f"{path.parent}/{TRAINING}" in words
    assert words[:3] == ["--standalone", "--nproc-per-node=2", "--no-python"]


def test_several_machines_are_told_who_they_are(tmp_path, launchers):
    path = tmp_path / RUN
    path.write_text(scripts(COMMAND, Nodes(4, 8), tmp_path)[RUN])
    done, words = launchers(path)
    assert (done.returncode != 0, words) == (True, [])
    assert "NODE_RANK: set it to 0 on the first machine" in done.stderr
    done, words = launchers(path, NODE_RANK="2", MASTER_ADDR="host a")
    assert words[:5] == [
        "--nnodes=4",
        "--nproc-per-node=8",
        "--node-rank=2",
        "--master-addr=host a",
        "--master-port=29500",
    ]


def test_data_may_be_named_when_the_script_is_run(tmp_path, launchers):
    path = tmp_path / RUN
    path.write_text(scripts(evolve(COMMAND, data=None), Nodes(1, 1), tmp_path)[RUN])
    done, words = launchers(path)
    assert (done.returncode != 0, words) == (True, [])
    assert "DATA: set it to the folder with train.jsonl" in done.stderr
    _, words = launchers(path, DATA="/my $data")
    assert "/my $data" in words


def test_slurm_gets_a_task_for_each_gpu(tmp_path):
    text = scripts(COMMAND, Nodes(4, 8), tmp_path, name="a b\n#SBATCH --nodes=9")[SLURM]
    directives = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert directives == [
        "#SBATCH --job-name=a_b__SBATCH_--nodes_9",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --gpus-per-node=8",
    ]
    assert text.splitlines()[1:5] == directives  # Slurm reads none behind the first command


@pytest.mark.parametrize("nodes", [Nodes(1, 8), Nodes(4, 8)])
@pytest.mark.parametrize("value", ["/plain", *HOSTILE], ids=ascii)
def test_bash_and_shellcheck_find_nothing(nodes, value, tmp_path):
    command = Command(value, value, (("--set", value), ("--output", value)))
    found = scripts(command, nodes, value) | {"asks.sh": run_script(["words"], evolve(command, data=None), nodes)}
    for name, text in found.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    paths = [str(tmp_path / name) for name in found]
    for path in paths:
        subprocess.run(["bash", "-n", path], check=True)
    done = subprocess.run([program("shellcheck"), *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_train_understands_the_command(value, tmp_path, launchers):
    """Through bash, then through the command line's own parser."""
    made = plan(model=Source(f"/s/{value}", "feed", hf=value, set=(f"a={value}", "b=1")))
    options = (*model_options(made), ("--weights", f"/w/{value}"), ("--output", f"/r/{value}"))
    path = tmp_path / RUN
    path.write_text(
        scripts(Command(f"/s/{value}", f"/d/{value}", options), Nodes(1, 8), tmp_path)[RUN], encoding="utf-8"
    )
    _, words = launchers(path, "--resume")
    _, bound, _ = make_app().parse_args(words[words.index("train") :], exit_on_error=False, print_error=True)
    arguments = bound.arguments
    assert (arguments["spec"], str(arguments["settings"])) == (f"/s/{value}", f"{tmp_path}/{TRAINING}")
    assert (arguments["hf"], arguments["set_"]) == (value, [f"a={value}", "b=1"])
    assert (arguments["data"], arguments["weights"]) == (Path(f"/d/{value}"), [f"/w/{value}"])
    assert (arguments["output"], arguments["resume"]) == (Path(f"/r/{value}"), True)


def test_bash_reads_the_arguments_as_the_file_says(tmp_path):
    written(PIPELINED_EXECUTION, tmp_path).save(tmp_path)
    (how,) = re.findall(r"^#   (read -r .*)$", (tmp_path / MEGATRON).read_text(), flags=re.MULTILINE)
    script = f"set -e; {how}\nprintf '%s\\n' \"${{words[@]}}\""
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    arguments = execution_arguments(plan(), shipped())
    assert done.stdout.split() == [word for argument in arguments if not argument.left_out for word in argument.words]
