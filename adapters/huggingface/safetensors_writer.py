"""Writes a safetensors file a few rows at a time; `safetensors.save_file` needs every tensor of a file in memory.

Source of the format: safetensors' README (8 bytes of header length, a JSON header, then the tensors back to back).
"""

import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

WORDS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class Shaped(Protocol):
    """A tensor to write, or anything else with its shape and dtype."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...


def file_order(tensors: Mapping[str, Shaped]) -> list[str]:
    """Names in the order of a file: wider dtypes first, so that every tensor is aligned to its own width."""
    return sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)


def write_safetensors(path: Path, tensors: Mapping[str, Shaped], blocks: Iterable[Tensor]) -> None:
    """Write one file, and wait until it is on the disk.

    Args:
        path: of the file.
        tensors: what it holds, by name.
        blocks: their values in `file_order`, cut anywhere.

    Raises:
        KeyError: a dtype that holds no weights.
        ValueError: more or fewer values than the tensors have.
    """
    header, size = _header(tensors)
    with path.open("wb") as file:
        file.write(header)
        for block in blocks:
            flat = block.detach().to("cpu").contiguous().view(-1)
            file.write(memoryview(flat.view(torch.uint8).numpy()))
        if file.tell() != len(header) + size:
            raise ValueError(f"{path}: {file.tell() - len(header)} bytes of values, the tensors have {size}")
        file.flush()
        os.fsync(file.fileno())


def _header(tensors: Mapping[str, Shaped]) -> tuple[bytes, int]:
    # loaders ask the metadata which framework a file was written for
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in file_order(tensors):
        shape, dtype = tuple(tensors[name].shape), tensors[name].dtype
        stop = start + torch.Size(shape).numel() * dtype.itemsize
        entries[name] = {"dtype": WORDS[dtype], "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, start
