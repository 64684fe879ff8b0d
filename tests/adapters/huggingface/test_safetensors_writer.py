"""Files written a few rows at a time are what safetensors itself reads."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from adapters.huggingface.safetensors_writer import file_order, write_safetensors


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    write_safetensors(path, tensors, (tensors[name] for name in file_order(tensors)))


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
    write(tmp_path / "file", tensors)
    found = load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_rows_in_order_are_the_tensor(tmp_path: Path):
    tensor = torch.arange(24.0).reshape(6, 4)
    write_safetensors(tmp_path / "file", {"a": tensor}, [tensor[:1], tensor[1:5], tensor[5:]])
    assert torch.equal(load_file(tmp_path / "file")["a"], tensor)


def test_every_tensor_is_aligned_and_the_file_says_its_framework(tmp_path: Path):
    tensors = {"a": torch.ones(3, dtype=torch.float16), "b": torch.ones(3), "c": torch.ones(3, dtype=torch.float64)}
    write(tmp_path / "file", tensors)
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert all(file.get_tensor(name).data_ptr() % tensors[name].element_size() == 0 for name in tensors)


def test_what_is_no_weight_is_not_written(tmp_path: Path):
    with pytest.raises(KeyError, match="int8"):
        write(tmp_path / "file", {"a": torch.ones(3, dtype=torch.int8)})


@pytest.mark.parametrize("rows", [2, 4])
def test_too_few_and_too_many_values_are_an_error(tmp_path: Path, rows: int):
    with pytest.raises(ValueError, match=f"{4 * rows} bytes of values, the tensors have 12"):
        write_safetensors(tmp_path / "file", {"a": torch.ones(3)}, [torch.ones(rows)])
