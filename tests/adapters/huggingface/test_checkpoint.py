"""What is found in a checkpoint directory, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapters.huggingface.checkpoint import INDEX, SINGLE, read_index, reading
from adapters.huggingface.checkpoint_error import CheckpointError

ONE = {"a": torch.arange(12.0).reshape(6, 2), "scalar": torch.tensor(3.0)}
TWO = {"b": torch.ones(3, dtype=torch.bfloat16)}


def shards(directory: Path, weight_map: dict[str, str]) -> None:
    save_file(ONE, directory / "one.safetensors")
    save_file(TWO, directory / "two.safetensors")
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


WHOLE = {"a": "one.safetensors", "scalar": "one.safetensors", "b": "two.safetensors"}


def problems(directory: Path) -> tuple[str, ...]:
    with pytest.raises(CheckpointError) as error:
        read_index(directory)
    assert all(problem in str(error.value) for problem in error.value.problems)
    return error.value.problems


def test_one_file(tmp_path: Path):
    save_file(ONE | TWO, tmp_path / SINGLE)
    found = read_index(tmp_path)
    assert {name: (item.shape, item.dtype) for name, item in found.items()} == {
        "a": ((6, 2), "F32"),
        "scalar": ((), "F32"),
        "b": ((3,), "BF16"),
    }


def test_shards_and_their_index(tmp_path: Path):
    shards(tmp_path, WHOLE)
    assert {name: item.file.name for name, item in read_index(tmp_path).items()} == WHOLE


def test_pickles_are_refused(tmp_path: Path):
    torch.save(ONE, tmp_path / "pytorch_model.bin")
    (problem,) = problems(tmp_path)
    assert problem == (
        "only pickle files (pytorch_model.bin): reading them can run code; convert them to safetensors first"
    )


def test_nothing_there(tmp_path: Path):
    assert problems(tmp_path / "absent") == ("no such directory",)
    assert problems(tmp_path) == (f"no {SINGLE} and no {INDEX}",)


def test_one_file_beside_an_index(tmp_path: Path):
    shards(tmp_path, WHOLE)
    save_file(ONE, tmp_path / SINGLE)
    assert problems(tmp_path) == (f"holds both {SINGLE} and {INDEX}: which one is meant?",)


def test_a_shard_is_absent(tmp_path: Path):
    shards(tmp_path, WHOLE | {"c": "three.safetensors"})
    assert problems(tmp_path) == ("three.safetensors is named in the index but absent",)


def test_index_and_shards_disagree(tmp_path: Path):
    shards(tmp_path, WHOLE | {"c": "two.safetensors", "a": "two.safetensors"})
    assert problems(tmp_path) == (
        "a is in one.safetensors, the index has it in two.safetensors",
        "c is not in two.safetensors, where the index has it",
    )


def test_a_tensor_in_two_shards(tmp_path: Path):
    shards(tmp_path, WHOLE)
    save_file(TWO | {"a": torch.ones(1)}, tmp_path / "two.safetensors")
    assert "a is in one.safetensors and in two.safetensors" in problems(tmp_path)


@pytest.mark.parametrize("name", ["../one.safetensors", "/etc/one.safetensors"])
def test_an_index_cannot_point_elsewhere(tmp_path: Path, name: str):
    shards(tmp_path, WHOLE | {"a": name})
    assert problems(tmp_path) == (f"shard {name!r} is not a file of this directory",)


@pytest.mark.parametrize("text", ["{", "[]", '{"weights": {}}'])
def test_a_broken_index(tmp_path: Path, text: str):
    (tmp_path / INDEX).write_text(text)
    assert problems(tmp_path)[0].startswith("not an index of shards")


def test_a_broken_file(tmp_path: Path):
    (tmp_path / SINGLE).write_bytes(b"not a header")
    assert problems(tmp_path)[0].startswith("not a readable safetensors file")


def test_rows_survive_reopening(tmp_path: Path):
    save_file(ONE, tmp_path / SINGLE)
    found = read_index(tmp_path)
    with reading(tmp_path / SINGLE, max_bytes=8) as reader:
        rows = [reader.rows(found["a"], (slice(start, start + 2),)).clone() for start in (0, 2, 4)]
        assert torch.equal(torch.cat(rows), ONE["a"])
        assert torch.equal(reader.rows(found["scalar"], ()), ONE["scalar"])
