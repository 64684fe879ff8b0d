"""Writes a safetensors file a few rows at a time; `safetensors.save_file` needs every tensor of a file in memory.

Source of the format: safetensors' README (8 bytes of header length, a JSON header, then the tensors back to back).
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor

WORDS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@frozen
class Planned:
    """A tensor to write: its shape, dtype and, when it is its turn, its rows in order."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    rows: Callable[[], Iterable[Tensor]]

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_safetensors(path: Path, tensors: Mapping[str, Planned]) -> None:
    """Write one file; wider dtypes first, so that every tensor is aligned to its own width.

    Raises:
        KeyError: a dtype that holds no weights.
    """
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    with path.open("wb") as file:
        file.write(_header(order, tensors))
        for name in order:
            for rows in tensors[name].rows():
                flat = rows.detach().to("cpu").contiguous().reshape(-1)
                file.write(memoryview(flat.view(torch.uint8).numpy()))


def _header(order: list[str], tensors: Mapping[str, Planned]) -> bytes:
    # loaders ask the metadata which framework a file was written for
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in order:
        stop = start + tensors[name].bytes
        entries[name] = {
            "dtype": WORDS[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
