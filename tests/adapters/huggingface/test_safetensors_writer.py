"""Files written a few rows at a time are what safetensors itself reads."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from adapters.huggingface.safetensors_writer import Planned, write_safetensors


def planned(tensor: Tensor, *rows: Tensor) -> Planned:
    return Planned(tuple(tensor.shape), tensor.dtype, lambda: rows or [tensor])


def test_dtypes_shapes_and_strides(tmp_path: Path):
    numbers = torch.arange(24.0)
    tensors = {
        "odd": numbers[:3].bfloat16(),
        "wide": numbers[:5].double(),
        "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 4),
        "transposed": numbers.reshape(4, 6).T,
        "strided": numbers[::2],
        "grows": torch.nn.Parameter(numbers[:2].clone()),
    }
    write_safetensors(tmp_path / "file", {name: planned(tensor) for name, tensor in tensors.items()})
    found = load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_rows_in_order_are_the_tensor(tmp_path: Path):
    tensor = torch.arange(24.0).reshape(6, 4)
    write_safetensors(tmp_path / "file", {"a": planned(tensor, tensor[:1], tensor[1:5], tensor[5:])})
    assert torch.equal(load_file(tmp_path / "file")["a"], tensor)


def test_every_tensor_is_aligned_and_the_file_says_its_framework(tmp_path: Path):
    tensors = {"a": torch.ones(3, dtype=torch.float16), "b": torch.ones(3), "c": torch.ones(3, dtype=torch.float64)}
    write_safetensors(tmp_path / "file", {name: planned(tensor) for name, tensor in tensors.items()})
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert all(file.get_tensor(name).data_ptr() % tensors[name].element_size() == 0 for name in tensors)


def test_what_is_no_weight_is_not_written(tmp_path: Path):
    with pytest.raises(KeyError, match="int8"):
        write_safetensors(tmp_path / "file", {"a": planned(torch.ones(3, dtype=torch.int8))})
