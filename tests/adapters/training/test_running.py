"""Training on two ranks, however they are started; and what becomes of the job when one of them dies."""

import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from adapters.quickstart.model import overrides
from adapters.training.checkpoint_settings import Checkpoints
from adapters.training.job import run
from adapters.training.log import StepRecord, read_log
from adapters.training.samples import JsonlSamples
from adapters.training.sampling import endless_groups
from adapters.training.settings import Training
from adapters.training.settings_file import settings_text
from composer import Graph, dump, load
from tests.adapters.training.conftest import SPEC, two_stages

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
COMMAND = [sys.executable, "-m", "adapters.cli"]
WORLD = base64.urlsafe_b64encode(b'{"localhost": [0, 1]}').decode()  # two ranks, as deepspeed writes it
WORKER = "tests.adapters.training.failing_rank"
FAILING = [sys.executable, "-m", WORKER]
NPROC = ["--nproc", "2"]
PIPELINE = ["--pp", "2", "--first-stage-layers", "1"]
SPLITTABLE = "hf.text_config.kinds.full_attention.num_key_value_heads=2"  # two tensor-parallel ranks share the heads


@pytest.fixture(scope="module")
def graph() -> Graph:
    """The quickstart's: experts, and both kinds of layers."""
    return load(SPEC, overrides=[*overrides(), SPLITTABLE])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, graph: Graph, data_dir: Path) -> list[str]:
    """Words for two stages of two and three steps, saved after every second step."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "spec.yaml").write_text(dump(graph))
    (folder / "training.yaml").write_text(settings_text(job_settings()))
    return ["train", str(folder / "spec.yaml"), str(folder / "training.yaml"), str(data_dir)]


def job_settings() -> Training:
    """At the full rate from the first step on: what a rank gets wrong shows in the next losses."""
    settings = two_stages()
    optimizer = attrs.evolve(settings.optimizer, warmup_steps=0)
    return attrs.evolve(settings, print_every=1, optimizer=optimizer, checkpoints=Checkpoints(every=2))


def start(command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )


def srun(command: Sequence[str], **environment: str) -> list[subprocess.Popen[bytes]]:
    """Two processes that find what srun leaves in their environment."""
    step = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid())}
    step |= {"SLURM_JOB_NODELIST": "localhost"}
    given = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | step | environment
    places = ({"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1"))
    return [subprocess.Popen(command, cwd=ROOT, env=given | place) for place in places]


def check_lines(folder: Path, printed: str) -> None:
    """One record and one printed line for each of the five steps, and both say the same."""
    records: list[StepRecord] = read_log(folder / "log.jsonl")
    assert [record.step for record in records] == [1, 2, 3, 4, 5]
    lines = [line for line in printed.splitlines() if "tokens/s" in line]
    assert len(lines) == 5
    for record, line in zip(records, lines, strict=True):
        for part in (f"loss {record.loss:.4f}", f"lr {record.lr:.2e}", f"gradient norm {record.grad_norm:.3f}"):
            assert part in line
        assert all(unit in line for unit in ("tokens/s", "samples/s", "GiB"))
        assert record.tokens / record.tokens_per_second == pytest.approx(8 / record.samples_per_second)


def numbers(folder: Path) -> list[tuple[int, float, float]]:
    return [(record.step, record.loss, record.grad_norm) for record in read_log(folder / "log.jsonl")]


@pytest.fixture(scope="module")
def uninterrupted(job: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that torchrun starts from the console script: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = start([*TORCHRUN, "--no-python", str(BIN / "vlm-composer"), *job, "-o", str(folder)])
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, done.stdout


def test_one_line_a_step_from_one_rank(uninterrupted: tuple[Path, str]) -> None:
    folder, printed = uninterrupted
    check_lines(folder, printed)
    assert (folder / "hf" / "model.safetensors").is_file()
    assert not (folder / "tensorboard").exists()


def test_tensor_parallel_ranks_find_the_losses_of_one_process(job: list[str], data_dir: Path, tmp_path: Path) -> None:
    """Without experts: a token near a tie goes to another one by a rounding, and losses part after a few steps."""
    dense = load(SPEC, overrides=[*overrides(), SPLITTABLE, "hf.text_config.enable_moe_block=false"])
    spec = tmp_path / "dense.yaml"
    spec.write_text(dump(dense))
    run(dense, job_settings(), data_dir, tmp_path / "first")
    weights = tmp_path / "first" / "hf"  # fresh ones differ between layouts
    alone = run(dense, job_settings(), data_dir, tmp_path / "alone", weights=weights).records
    given = [job[0], str(spec), *job[2:], "--weights", str(weights)]
    words = [*given, "-o", str(tmp_path / "two"), *NPROC, "--tp", "2", "--sequence-parallel"]
    done = start([*COMMAND, *words])
    assert done.returncode == 0, done.stderr[-4000:]
    check_lines(tmp_path / "two", done.stdout)
    losses = [record.loss for record in read_log(tmp_path / "two" / "log.jsonl")]
    assert losses == pytest.approx([record.loss for record in alone], rel=1e-5)


def test_a_killed_rank_is_started_again_and_nothing_is_lost(
    job: list[str], uninterrupted: tuple[Path, str], tmp_path: Path
) -> None:
    mark = tmp_path / "killed"
    words = [*job, "-o", str(tmp_path / "run"), *NPROC, "--max-restarts", "1"]
    done = start([*FAILING, *words], TEST_FAULT=f"kill:4:{mark}")
    assert done.returncode == 0, done.stderr[-4000:]
    assert mark.exists()
    assert "Resumed after step 2" in done.stdout
    assert numbers(tmp_path / "run") == numbers(uninterrupted[0])


def test_a_killed_rank_ends_the_job(job: list[str], tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    done = start([*FAILING, *job, "-o", str(tmp_path / "run"), *NPROC, "--ep", "2"], TEST_FAULT=f"kill:2:{mark}")
    assert done.returncode == 128 + 9
    assert time.time() - float(mark.read_text()) < 60
    assert "Rank 1 of 2 was killed by SIGKILL" in done.stderr
    assert "Traceback" not in done.stderr  # no other rank has a story to tell


@pytest.mark.parametrize(
    ("launcher", "layout"),
    [
        pytest.param(FAILING, [*NPROC, "--tp", "2", "--sequence-parallel"], id="nproc"),
        pytest.param([*TORCHRUN, "-m", WORKER], PIPELINE, id="torchrun"),
    ],
)
def test_an_error_on_one_rank_is_told_once(
    launcher: list[str], layout: list[str], job: list[str], tmp_path: Path
) -> None:
    mark = tmp_path / "raised"
    done = start([*launcher, *job, "-o", str(tmp_path / "run"), *layout], TEST_FAULT=f"raise:3:{mark}")
    assert done.returncode == 1
    assert time.time() - float(mark.read_text()) < 60
    assert done.stderr.count("rank 1 of 2: Traceback") == 1
    assert done.stderr.count("\nArithmeticError: planted on rank 1") == 1
    assert "gloo" not in done.stderr
    assert "rank 0 of 2:" not in done.stderr


def test_a_parameter_that_is_no_number_is_named(job: list[str], data_dir: Path, tmp_path: Path) -> None:
    """The second pipeline stage's last layer is the model's third, whose number the message must say."""
    mark = tmp_path / "poisoned"
    done = start([*FAILING, *job, "-o", str(tmp_path / "run"), *NPROC, *PIPELINE], TEST_FAULT=f"nan:2:{mark}")
    assert done.returncode == 2
    assert time.time() - float(mark.read_text()) < 60
    told = [line for line in done.stderr.splitlines() if "step 2 (align)" in line]
    assert len(told) == 1
    assert (
        "loss nan, gradient norm nan. First in micro-batch 1, rank 1, node language_model: parameter weight of "
        in told[0]
    )
    assert " language_model.decoder.layers.2.self_attention.linear_proj. Samples: " in told[0]
    assert str(data_dir / "train.jsonl") in told[0]
    assert "Traceback" not in done.stderr
    assert [step for step, _, _ in numbers(tmp_path / "run")] == [1]


def test_bad_data_of_one_rank_is_told_without_a_traceback(job: list[str], data_dir: Path, tmp_path: Path) -> None:
    settings = two_stages()
    data = tmp_path / "data"
    shutil.copytree(data_dir, data)
    groups = endless_groups(JsonlSamples(data / "train.jsonl"), settings.global_batch, settings.seed)
    sample = [next(groups) for _ in range(2)][1][-1]  # of the second step, the last: rank 1 reads it
    sample.images[0].write_bytes(b"no picture")
    done = start([*COMMAND, *job[:-1], str(data), "-o", str(tmp_path / "run"), *NPROC])
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if line.startswith(("rank", "Rank"))]
    assert told[0].startswith(f"rank 1 of 2: {sample.where}")
    assert told[1:] == ["Rank 1 of 2 failed; all ranks were ended."]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_srun_and_deepspeed_start_the_same_entry_point(
    job: list[str], uninterrupted: tuple[Path, str], tmp_path: Path
) -> None:
    tasks = srun([*COMMAND, *job, "-o", str(tmp_path / "srun")])
    assert [task.wait(timeout=240) for task in tasks] == [0, 0]
    assert numbers(tmp_path / "srun") == numbers(uninterrupted[0])

    pytest.importorskip("deepspeed")
    launcher = [sys.executable, "-m", "deepspeed.launcher.launch", "--world_info", WORLD, "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", "29731", "--module", "adapters.cli"]
    done = start([*launcher, *job, "-o", str(tmp_path / "deepspeed")])
    assert done.returncode == 0, done.stderr[-4000:]
    assert numbers(tmp_path / "deepspeed") == numbers(uninterrupted[0])


@pytest.mark.slow
def test_a_rank_of_srun_ends_by_itself_when_its_peer_dies(job: list[str], tmp_path: Path) -> None:
    """No launcher ends the survivor: it learns of the death in its next collective."""
    mark = tmp_path / "killed"
    words = [*FAILING, *job, "-o", str(tmp_path / "run"), "--tp", "2", "--sequence-parallel"]
    tasks = srun(words, TEST_FAULT=f"kill:3:{mark}")
    assert [task.wait(timeout=240) for task in tasks] == [1, -9]
    assert time.time() - float(mark.read_text()) < 60
