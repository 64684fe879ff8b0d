"""The log of a run: on disk at once, cut back to the checkpoint on resume, the same records everywhere."""

import importlib.util
import json
from pathlib import Path

import attrs
import pytest

from adapters.training import boards
from adapters.training.log import CURVES, RunLog, StepRecord, open_log, read_log
from adapters.training.memory import peak_memory_gib
from adapters.training.problems import TrainingError


def record(step: int) -> StepRecord:
    return StepRecord(step, "a", 2.0 / step, 0.1, 1.0, 10, 5.0, 2.5, 0.25, 0.5 * step)


def test_records_are_on_disk_at_once(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.write(record(1))
        assert json.loads((tmp_path / "log.jsonl").read_text()) == attrs.asdict(record(1))
    assert not (tmp_path / "tensorboard").exists()


def test_a_resumed_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        for step in range(1, 5):
            log.write(record(step))
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text() + '{"step": 5, "sta')  # killed in the middle of a line
    assert [entry.step for entry in read_log(path)] == [1, 2, 3, 4]
    with open_log(tmp_path, after=2) as log:
        log.write(record(3))
    assert read_log(path) == [record(1), record(2), record(3)]
    with open_log(tmp_path) as log:
        log.write(record(1))
    assert read_log(path) == [record(1)]


def test_a_run_whose_log_was_removed_has_no_earlier_records(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.jsonl") == []
    with open_log(tmp_path, after=2) as log:
        log.write(record(3))
    assert read_log(tmp_path / "log.jsonl") == [record(3)]


def test_a_log_without_sinks_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RunLog() as log:
        log.write(record(1))
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_every_curve(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for after, steps in ((0, (1, 2, 3)), (1, (2,))):
        with open_log(tmp_path, after=after, tensorboard=True) as log:
            for step in steps:
                log.write(record(step))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {f"train/{name}" for name in CURVES}
    assert [point.step for point in events.Scalars("train/loss")] == [1, 2]


def test_without_wandb_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=r"pip install 'vlm-composer\[wandb\]'"):
        open_log(tmp_path, wandb="project")


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is an extra")
def test_wandb_works_offline_and_stays_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    ids = []
    for step in (1, 2):
        with open_log(tmp_path, after=step - 1, wandb="project") as log:
            log.write(record(step))
        ids.append((tmp_path / "wandb-id.txt").read_text())
    assert ids[0] == ids[1]
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2


def test_memory_is_the_largest_resident_set() -> None:
    told = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert peak_memory_gib() == pytest.approx(int(told.split()[1]) / 2**20, rel=0.05)
