"""Stacks of experts that lie the other way round in a file than transformers writes them: released files do."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.parity.oracle import build_oracle
from tests.parity.shipped_spec import tiny_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A graph, a folder as transformers writes it, and one with every stack of experts turned."""
    graph = tiny_of("qwen3_vl", "qwen3_vl_30b_a3b")
    written, turned = tmp_path_factory.mktemp("written"), tmp_path_factory.mktemp("turned")
    build_oracle(graph).save_pretrained(written)
    tensors = load_file(written / "model.safetensors")
    save_file(
        {name: value.mT.contiguous() if ".experts." in name else value for name, value in tensors.items()},
        turned / "model.safetensors",
    )
    return graph, written, turned


def test_both_ways_give_the_same_model(files):
    graph, written, turned = files
    models = [build(graph), build(graph)]
    used = [import_weights(model, folder).tensors for model, folder in zip(models, (written, turned), strict=True)]
    assert used[0] == used[1]
    for name, value in models[0].state_dict().items():
        other = models[1].state_dict()[name]
        assert not isinstance(value, torch.Tensor) or torch.equal(value, other), name


def test_another_shape_is_refused_either_way(files, tmp_path):
    graph, _, turned = files
    tensors = load_file(turned / "model.safetensors")
    name = next(name for name in tensors if name.endswith("experts.down_proj"))
    save_file(tensors | {name: tensors[name][:, :-1].contiguous()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="down_proj"):
        import_weights(build(graph), tmp_path)
