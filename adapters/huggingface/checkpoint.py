"""Reading a safetensors checkpoint: one file, or shards and their index; lazily, a few rows at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors import SafetensorError, safe_open

from adapters.huggingface.checkpoint_error import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@frozen
class Stored:
    """A tensor on disk, and its name there. `dtype` is safetensors' word: F32, BF16, I8, F8_E4M3, …"""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    name: str


def read_index(directory: str | Path) -> dict[str, Stored]:
    """What the files of a checkpoint hold, by tensor name; reads headers only.

    Raises:
        CheckpointError: no safetensors there (pickles are refused), a broken file, or an index that does not say what
            the shards hold.
    """
    directory = Path(directory)
    files = {path.name: path for path in _files(directory)}
    found: dict[str, Stored] = {}
    problems: list[str] = []
    for path in files.values():
        for name, stored in _headers(path).items():
            if name in found:
                problems.append(f"{name} is in {found[name].file.name} and in {path.name}")
            found[name] = stored
    for name, file in _promised(directory).items():
        if name not in found:
            problems.append(f"{name} is not in {file}, where the index has it")
        elif found[name].file.name != file:
            problems.append(f"{name} is in {found[name].file.name}, the index has it in {file}")
    if problems:
        raise CheckpointError(directory, problems)
    return found


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise CheckpointError(directory, ["no such directory"])
    single, index = (directory / SINGLE).is_file(), (directory / INDEX).is_file()
    if single and index:
        raise CheckpointError(directory, [f"holds both {SINGLE} and {INDEX}: which one is meant?"])
    if single:
        return [directory / SINGLE]
    if index:
        names = sorted(set(_promised(directory).values()))
        missing = [f"{name} is named in the index but absent" for name in names if not (directory / name).is_file()]
        if missing:
            raise CheckpointError(directory, missing)
        return [directory / name for name in names]
    pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if pickles:
        raise CheckpointError(
            directory,
            [f"only pickle files ({', '.join(pickles)}): reading them can run code; convert them to safetensors first"],
        )
    raise CheckpointError(directory, [f"no {SINGLE} and no {INDEX}"])


def _promised(directory: Path) -> dict[str, str]:
    """Tensor name to file name, from the index; empty for a single file."""
    path = directory / INDEX
    if not path.is_file():
        return {}
    try:
        promised = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(path, [f"not an index of shards: {error!r}"]) from error
    outside = sorted({name for name in promised.values() if Path(name).name != name})
    if outside:
        raise CheckpointError(path, [f"shard {name!r} is not a file of this directory" for name in outside])
    return promised


def _headers(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return {
                name: Stored(path, tuple(part.get_shape()), part.get_dtype(), name) for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, [f"not a readable safetensors file: {error}"]) from error


class RowReader:
    """Reads blocks of one file, and lets go of the file's pages now and then.

    `safe_open` maps the file; pages that were read count as memory of the process until it is closed. Reopening keeps
    them below `max_bytes`, plus one block.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self.max_bytes, self.read = path, max_bytes, 0
        self._open: Any = None

    def rows(self, stored: Stored, index: tuple[slice, ...]) -> torch.Tensor:
        """A block of a tensor, all of a scalar. May be a view of the mapped file: copy it soon."""
        if self._open is None or self.read > self.max_bytes:
            self.close()
            self._open = safe_open(self.path, framework="pt").__enter__()
        tensor: torch.Tensor = (
            self._open.get_slice(stored.name)[index] if stored.shape else self._open.get_tensor(stored.name)
        )
        self.read += tensor.numel() * tensor.element_size()
        return tensor

    def close(self) -> None:
        """Unmap the file."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open, self.read = None, 0


@contextmanager
def reading(path: Path, max_bytes: int) -> Iterator[RowReader]:
    """A RowReader, closed at the end."""
    reader = RowReader(path, max_bytes)
    try:
        yield reader
    finally:
        reader.close()
