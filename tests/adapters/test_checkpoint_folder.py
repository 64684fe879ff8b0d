"""Names of checkpoints, and how one appears and goes."""

import pytest

from adapters.checkpoint_folder import complete, latest, name_of, prune, publish, remove_incomplete, stage
from adapters.huggingface.checkpoint_error import CheckpointError


def made(checkpoints, *steps):
    for step in steps:
        staging = stage(checkpoints / name_of(step))
        (staging / "weights").write_text(str(step))
        publish(staging, checkpoints / name_of(step))


def names(checkpoints):
    return [path.name for path in complete(checkpoints)]


def test_names_sort_by_step():
    assert name_of(40) == "step-00000040"
    assert sorted(map(name_of, (100, 9, 20))) == [name_of(9), name_of(20), name_of(100)]


def test_the_newest_is_found_and_other_things_are_not(tmp_path):
    assert latest(tmp_path / "absent") is None
    made(tmp_path, 9, 100, 20)
    (tmp_path / "step-best").mkdir()
    (tmp_path / "notes.txt").touch()
    assert names(tmp_path) == [name_of(9), name_of(20), name_of(100)]
    assert latest(tmp_path).joinpath("weights").read_text() == "100"


def test_what_is_staged_is_not_there_yet(tmp_path):
    made(tmp_path, 1)
    first, second = stage(tmp_path / name_of(2)), stage(tmp_path / name_of(2))
    assert first != second
    assert latest(tmp_path).name == name_of(1)
    remove_incomplete(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name_of(1)]


def test_only_leftovers_are_removed(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".step-00000001.notes.incomplete").mkdir()
    remove_incomplete(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_is_not_overwritten(tmp_path):
    made(tmp_path, 3)
    with pytest.raises(CheckpointError, match="is there already"):
        stage(tmp_path / name_of(3))


def test_the_newest_are_kept(tmp_path):
    made(tmp_path, 1, 2, 3)
    stage(tmp_path / name_of(4))  # not complete: does not count
    prune(tmp_path, 2)
    assert names(tmp_path) == [name_of(2), name_of(3)]
    with pytest.raises(ValueError, match="at least one"):
        prune(tmp_path, 0)
