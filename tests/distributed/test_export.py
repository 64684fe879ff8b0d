"""Checkpoints from several ranks are, byte for byte, those of one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Gemma4ForConditionalGeneration

from adapters.cli import weights as cli
from adapters.huggingface.checkpoint import INDEX
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.parity.oracle import build_oracle, no_progress_bars
from adapters.prove.layouts.job import WEIGHTS
from tests.distributed.export_layouts import COMBINED, LAYOUTS, MAX_SHARD_BYTES, REFUSED, SWAPPED
from tests.distributed.graphs import EACH_EXPERT, VARIANTS, tiny
from tests.torchrun import torchrun


@pytest.fixture(scope="session")
def one_rank(folder):
    """Files of each variant, as one rank writes them."""
    found = {}
    with no_progress_bars():
        build_oracle(tiny(EACH_EXPERT)).save_pretrained(folder / EACH_EXPERT / WEIGHTS)
    for variant in (*VARIANTS, EACH_EXPERT):
        model = build(tiny(variant))
        import_weights(model, folder / variant / WEIGHTS)
        export_weights(model, folder / f"{variant}-one", max_shard_bytes=MAX_SHARD_BYTES)
        found[variant] = files(folder / f"{variant}-one")
        assert len(found[variant]) > 4
    return found


@pytest.fixture(scope="session")
def two(one_rank, folder):
    return run(folder, 2)


@pytest.fixture(scope="session")
def four(one_rank, folder):
    return run(folder, 4)


def run(folder: Path, count: int) -> Path:
    torchrun(count, "-m", "tests.distributed.export_worker", folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def results(folder: Path, layout):
    return [torch.load(folder / f"{layout.id}.{rank}.pt", weights_only=True) for rank in range(layout.ranks)]


def identifier(layout):
    return layout.id


@pytest.mark.parametrize("layout", LAYOUTS, ids=identifier)
def test_two_ranks_write_what_one_writes(layout, two, one_rank):
    assert files(two / layout.id) == one_rank[layout.variant]


@pytest.mark.slow
@pytest.mark.parametrize("layout", COMBINED, ids=identifier)
def test_four_ranks_write_what_one_writes(layout, four, one_rank):
    assert files(four / layout.id) == one_rank[layout.variant]


@pytest.mark.parametrize("layout", LAYOUTS, ids=identifier)
def test_a_rank_reads_its_own_weights_and_no_others(layout, two):
    for result in results(two, layout):
        assert result["read"] == result["held"]


def test_transformers_reads_it(two, folder):
    model, info = Gemma4ForConditionalGeneration.from_pretrained(two / "experts-ep2tp2", output_loading_info=True)
    assert not any(info.values())
    expected = load_file(folder / "experts" / WEIGHTS / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_a_runs_checkpoint_of_two_ranks_is_exported_by_one(two, one_rank, folder):
    cli.export(two / "checkpoints" / "step-00000001", folder / "from_run", max_shard_gb=MAX_SHARD_BYTES / 1e9)
    assert files(folder / "from_run") == one_rank["experts"]


def test_swapped_halves_show(two, one_rank):
    """The files fit each other, only the values are elsewhere."""
    swapped, right = files(two / SWAPPED.id), one_rank["dense"]
    assert swapped.keys() == right.keys()
    assert swapped[INDEX] == right[INDEX]
    assert [name for name in right if swapped[name] != right[name]]


MESSAGES = {
    "weights_are_there": "rank 0: holds weights already (model.safetensors, …); choose another or overwrite",
    "values_of_rank_1_cannot_be_read": "rank 1: NotImplementedError: Cannot copy out of meta tensor",
    "disk_is_full": "rank 0: OSError: [Errno 27] File too large",
    "a_part_is_on_no_rank": "embed_tokens.weight: the parts that ranks have are not the whole of [",
    "a_tensor_of_rank_1_has_no_name": "rank 1: language_model.extra of the model has no Hugging Face name",
}


@pytest.mark.parametrize("layout", REFUSED, ids=identifier)
def test_what_fails_on_one_rank_is_said_on_all_and_leaves_nothing(layout, two):
    told = [result["told"] for result in results(two, layout)]
    assert told[0] == told[1]
    assert MESSAGES[layout.fault] in told[0]
    left = files(two / layout.id) if (two / layout.id).exists() else {}
    assert left == ({"model.safetensors": b"old"} if layout.fault == "weights_are_there" else {})
