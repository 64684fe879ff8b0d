"""Export: transformers reloads it, and every bit that came in goes out."""

import json
from pathlib import Path

import pytest
import torch
from attrs import evolve
from safetensors.torch import load_file
from transformers import AutoConfig, Gemma4ForConditionalGeneration

import adapters.megatron
from adapters.huggingface.checkpoint import INDEX, SINGLE, read_index
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.config import plain
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from adapters.huggingface.unfinished import Unfinished
from tests.adapters.huggingface.tiny_checkpoints import perturb


def reload(directory: Path) -> tuple[Gemma4ForConditionalGeneration, dict]:
    return Gemma4ForConditionalGeneration.from_pretrained(directory, output_loading_info=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_there_and_back_is_the_same_bits(make_checkpoint, tmp_path: Path, dtype: torch.dtype):
    checkpoint = make_checkpoint(
        dtype=dtype, enable_moe_block=True, num_experts=3, top_k_experts=2, moe_intermediate_size=40
    )
    model = checkpoint.build(dtype=dtype)
    import_weights(model, checkpoint.directory)
    export_weights(model, tmp_path)
    back, info = reload(tmp_path)
    assert not any(info.values())
    state = back.state_dict()
    assert state.keys() == checkpoint.state.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in checkpoint.state.items())
    assert {tensor.dtype for tensor in state.values()} == {dtype}
    assert load_file(tmp_path / SINGLE).keys() == load_file(checkpoint.directory / SINGLE).keys()


def test_changed_weights_come_back_changed(checkpoint, tmp_path: Path):
    """After all parameters and buffers moved: export, import into another model, export again."""
    model, other = checkpoint.build(seed=1), checkpoint.build(seed=2)
    perturb(model, seed=5)
    export_weights(model, tmp_path / "one")
    import_weights(other, tmp_path / "one")
    ours, theirs = composed_tensors(model), composed_tensors(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    export_weights(other, tmp_path / "two")
    assert (tmp_path / "one" / SINGLE).read_bytes() == (tmp_path / "two" / SINGLE).read_bytes()
    stored = load_file(tmp_path / "one" / SINGLE)
    state = reload(tmp_path / "one")[0].state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())
    assert not any(torch.equal(tensor, checkpoint.state[name]) for name, tensor in stored.items())


def test_what_transformers_computes_from_it(checkpoint, tmp_path: Path):
    """Buffers that no file holds are made anew when transformers loads: logits, not only weights, must agree."""
    model = checkpoint.build()
    import_weights(model, checkpoint.directory)
    export_weights(model, tmp_path)
    tokens = torch.tensor([[2, 5, 7, 11, 13]])
    with torch.no_grad():
        expected = reload(checkpoint.directory)[0](input_ids=tokens).logits
        assert torch.equal(reload(tmp_path)[0](input_ids=tokens).logits, expected)


def test_the_configuration_is_the_checkpoints(checkpoint, tmp_path: Path):
    export_weights(checkpoint.build(), tmp_path)
    assert plain(tmp_path) == plain(checkpoint.directory)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.architectures == ["Gemma4ForConditionalGeneration"]
    assert config.dtype == torch.float32
    assert config.text_config.per_layer_config["full_attention"].head_dim == 32


def test_a_configuration_without_architecture_gets_the_specs(dense, tmp_path: Path):
    model = dense.build()
    model.config.graph = evolve(dense.graph, hf_config=dense.graph.hf_config | {"architectures": None})
    export_weights(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["Gemma4ForConditionalGeneration"]


def test_shards_and_their_index(experts, tmp_path: Path):
    limit = 40_000
    model = experts.build()
    import_weights(model, experts.directory)
    export_weights(model, tmp_path, max_shard_bytes=limit)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    index = json.loads((tmp_path / INDEX).read_text())
    stored = read_index(tmp_path)
    assert index["weight_map"] == {name: item.file.name for name, item in stored.items()}
    assert index["metadata"]["total_size"] == sum(4 * torch.Size(item.shape).numel() for item in stored.values())
    for file in files:
        tensors = load_file(tmp_path / file)
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= limit
    assert sorted(files) == sorted(set(index["weight_map"].values()))
    back, info = reload(tmp_path)
    assert not any(info.values())
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in experts.state.items())


def test_a_tied_table_is_written_once(experts, make_checkpoint, tmp_path: Path):
    export_weights(experts.build(), tmp_path / "tied")
    assert "lm_head.weight" not in read_index(tmp_path / "tied")
    untied = make_checkpoint(tied=False)
    model = untied.build()
    import_weights(model, untied.directory)
    export_weights(model, tmp_path / "untied")
    back, info = reload(tmp_path / "untied")
    assert not any(info.values())
    assert torch.equal(back.lm_head.weight, untied.state["lm_head.weight"])


def test_weights_that_are_there_stay_unless_asked(dense, tmp_path: Path):
    model = dense.build()
    export_weights(model, tmp_path, max_shard_bytes=10_000)
    with pytest.raises(CheckpointError, match="holds weights already"):
        export_weights(model, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    export_weights(model, tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", SINGLE, "tokenizer.json"]
    assert read_index(tmp_path)


def test_a_node_without_names_cannot_be_written(dense, tmp_path: Path):
    model = dense.build()
    nodes = dense.graph.nodes | {"embed_vision": evolve(dense.graph.nodes["embed_vision"], weights=None)}
    model.config.graph = evolve(dense.graph, nodes=nodes)
    with pytest.raises(CheckpointError, match="node embed_vision has no `weights`"):
        export_weights(model, tmp_path)
    model.config.graph = evolve(dense.graph, hf=None, hf_config={})
    with pytest.raises(CheckpointError, match=r"there is no config\.json to write"):
        export_weights(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_node_without_names_keeps_its_own_weights(dense):
    model = dense.build()
    nodes = dense.graph.nodes | {"embed_vision": evolve(dense.graph.nodes["embed_vision"], weights=None)}
    model.config.graph = evolve(dense.graph, nodes=nodes)
    with pytest.raises(CheckpointError, match=r"surplus: model\.embed_vision\.embedding_projection\.weight"):
        import_weights(model, dense.directory)


def test_a_slice_of_a_model_is_refused(dense, tmp_path: Path):
    model = adapters.megatron.build(dense.graph, post_process=False)
    with pytest.raises(CheckpointError, match=r"model\.language_model\.norm\.weight is on no rank"):
        export_weights(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_fails_while_writing_leaves_nothing_that_loads(dense, tmp_path: Path):
    """Old weights stay until the new ones are complete."""
    model = dense.build()
    export_weights(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model.language_model.decoder.final_layernorm.weight.data = torch.ones(48).to(torch.float8_e4m3fn)
    with pytest.raises(KeyError, match="float8"):
        export_weights(model, tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_crashed_export_leaves_nothing_that_loads_and_is_cleared_away(dense, tmp_path: Path):
    crashed = Unfinished(tmp_path, overwrite=False)
    (crashed.folder / SINGLE).write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        read_index(tmp_path)
    export_weights(dense.build(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", SINGLE]
