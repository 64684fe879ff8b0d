"""Where a run's checkpoints lie, and how one appears: whole or not at all. No torch, no ranks.

    RUN/checkpoints/step-00000040/                       complete
    RUN/checkpoints/.step-00000060.1f3c9a.incomplete/    being written, being removed, or left behind by a killed run

A folder gets its final name in one rename, after everything in it is on the disk. So whatever has a final name is
complete, and whatever has another name may be removed.
"""

import os
import re
import secrets
import shutil
from pathlib import Path

from adapters.huggingface.checkpoint_error import CheckpointError

_COMPLETE = re.compile(r"step-(\d{8,})")
_INCOMPLETE = re.compile(r"\..+\.[0-9a-f]{6}\.incomplete")


def name_of(step: int) -> str:
    """The folder's name of a step, `step-00000040`; sorts by step up to eight digits."""
    return f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """The step after which a complete checkpoint was saved.

    Raises:
        ValueError: no name of a complete checkpoint.
    """
    match = _COMPLETE.fullmatch(folder.name)
    if match is None:
        raise ValueError(f"{folder}: not named like a complete checkpoint")
    return int(match[1])


def complete(checkpoints: Path) -> list[Path]:
    """Complete checkpoints, oldest first; empty if the folder is not there."""
    if not checkpoints.is_dir():
        return []
    found = [(int(match[1]), path) for path in checkpoints.iterdir() if (match := _COMPLETE.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def latest(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint; None if there is none. What a killed run left behind is ignored."""
    return next(reversed(complete(checkpoints)), None)


def stage(target: Path) -> Path:
    """A fresh folder beside `target` to write into, under a name that no other attempt has.

    Raises:
        CheckpointError: `target` is there already.
    """
    if target.exists():
        raise CheckpointError(target, ["is there already: remove it, or resume from it"])
    staging = _other_name(target)
    staging.mkdir(parents=True)
    return staging


def publish(staging: Path, target: Path) -> None:
    """Give a staged folder its final name once its files are on the disk. A crash leaves the one name or the other.

    Raises:
        OSError: as `fsync` and `rename` do; the staged folder stays.
    """
    for path in staging.rglob("*"):
        sync(path)
    sync(staging)
    staging.rename(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune(checkpoints: Path, keep: int) -> None:
    """Remove all complete checkpoints but the newest `keep`. Safe at any time: incomplete ones do not count.

    Raises:
        ValueError: `keep` is not positive.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: at least one checkpoint must be kept")
    for path in complete(checkpoints)[:-keep]:
        # First the name: a checkpoint that is half removed must not look complete.
        doomed = _other_name(path)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def remove_incomplete(checkpoints: Path) -> None:
    """Remove what killed runs left behind; only while nothing is being saved here."""
    for path in checkpoints.glob(".*"):
        if _INCOMPLETE.fullmatch(path.name):
            # The writer of a killed rank may still be adding files: then the next call gets the rest.
            shutil.rmtree(path, ignore_errors=True)


def _other_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(3)}.incomplete")
