"""Import: every tensor lands, and whatever does not fit is said at once, before anything is written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from adapters.huggingface.checkpoint import SINGLE
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.import_weights import import_weights

LAYER = "language_model.decoder.layers.{}."
FINAL_NORM = "language_model.decoder.final_layernorm.weight"
QUANTIZED = "quantized weights are not read, expected F64, F32, F16, BF16"
HF_LAYER = "model.language_model.layers.{}."


@pytest.fixture
def changed(experts, tmp_path: Path):
    """Write the checkpoint again with some tensors added, replaced, or (None) taken away."""

    def write(**changes: torch.Tensor | None) -> Path:
        tensors = load_file(experts.directory / SINGLE) | changes
        save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, tmp_path / SINGLE)
        return tmp_path

    return write


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in composed_tensors(model).items()}


def test_merged_tensors_hold_the_checkpoint(experts):
    """Written out for one sliding and one full layer, without the map."""
    model = experts.build()
    import_weights(model, experts.directory)
    state, ours = experts.state, composed_tensors(model)
    q, k, v = (state[f"{HF_LAYER.format(0)}self_attn.{name}_proj.weight"] for name in "qkv")
    rows = [q[:32], k[:16], v[:16], q[32:], k[16:], v[16:]]
    assert torch.equal(ours[f"{LAYER.format(0)}self_attention.linear_qkv.weight"], torch.cat(rows))
    q, k = (state[f"{HF_LAYER.format(2)}self_attn.{name}_proj.weight"] for name in "qk")
    assert torch.equal(ours[f"{LAYER.format(2)}self_attention.linear_qkv.weight"], torch.cat([q, k]))
    for expert in range(4):
        composed = ours[f"{LAYER.format(1)}mlp.experts.experts.local_experts.{expert}.linear_fc1.weight"]
        assert torch.equal(composed, state[f"{HF_LAYER.format(1)}experts.gate_up_proj"][expert])
    assert torch.equal(ours[f"{LAYER.format(1)}output_scale"], state[f"{HF_LAYER.format(1)}layer_scalar"])
    assert torch.equal(ours["vision_tower.std_scale"], state["model.vision_tower.std_scale"])


def test_every_tensor_of_the_model_is_filled(checkpoint):
    """Two models that began differently end the same."""
    one, two = checkpoint.build(seed=1), checkpoint.build(seed=2)
    with torch.no_grad():
        for tensor in composed_tensors(two).values():
            tensor.fill_(torch.nan)
    done = import_weights(one, checkpoint.directory)
    import_weights(two, checkpoint.directory)
    left, right = composed_tensors(one), composed_tensors(two)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert done.tensors == len(checkpoint.state) - 1  # the tied output is not stored
    assert done.bytes == (checkpoint.directory / SINGLE).stat().st_size
    assert not done.conversions


def test_shards_are_read_as_one_file(experts, tmp_path: Path):
    from transformers import Gemma4ForConditionalGeneration

    Gemma4ForConditionalGeneration.from_pretrained(experts.directory).save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    one, two = experts.build(seed=1), experts.build(seed=2)
    import_weights(one, experts.directory)
    import_weights(two, tmp_path)
    assert all(torch.equal(tensor, snapshot(two)[name]) for name, tensor in composed_tensors(one).items())


def test_dtypes_are_converted_and_counted(make_checkpoint):
    checkpoint = make_checkpoint(dtype=torch.bfloat16)
    model = checkpoint.build(dtype=torch.float32)
    done = import_weights(model, checkpoint.directory)
    assert done.conversions == {("BF16", "torch.float32"): done.tensors}
    table = composed_tensors(model)["language_model.embedding.word_embeddings.weight"]
    assert table.dtype == torch.float32
    assert torch.equal(table, checkpoint.state["lm_head.weight"].float())


def test_parameters_stay_the_same_objects(dense):
    model = dense.build()
    before = {name: (id(tensor), tensor.data_ptr()) for name, tensor in composed_tensors(model).items()}
    import_weights(model, dense.directory)
    assert before == {name: (id(tensor), tensor.data_ptr()) for name, tensor in composed_tensors(model).items()}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_all_that_does_not_fit_is_said_at_once_and_nothing_is_written(experts, changed):
    directory = changed(
        **{
            "model.language_model.layers.0.layer_scalar": None,
            "model.language_model.layers.1.experts.down_proj": None,
            "model.vision_tower.std_bias": torch.zeros(31),
            "model.language_model.norm.weight": torch.zeros(1, 48),
            "model.audio_tower.weight": torch.zeros(2, 3),
            "model.language_model.layers.2.self_attn.v_proj.weight": torch.zeros(32, 48),
            "model.embed_vision.embedding_projection.weight": torch.zeros(48, 32, dtype=torch.int8),
        }
    )
    model = experts.build()
    before = snapshot(model)
    with pytest.raises(CheckpointError) as error:
        import_weights(model, directory)
    experts_name = "language_model.decoder.layers.1.mlp.experts.experts.local_experts.0.linear_fc2.weight and 3 more"
    said = {problem for problem in error.value.problems if not problem.startswith("look at ")}
    assert said == {
        "missing: model.language_model.layers.0.layer_scalar [1] (for language_model.decoder.layers.0.output_scale)",
        f"missing: model.language_model.layers.1.experts.down_proj [4, 48, 40] (for {experts_name})",
        "surplus: model.audio_tower.weight [2, 3]",
        "surplus: model.language_model.layers.2.self_attn.v_proj.weight [32, 48]",
        "shape: model.vision_tower.std_bias: expected [32], found [31] (for vision_tower.std_bias)",
        f"shape: model.language_model.norm.weight: expected [48], found [1, 48] (for {FINAL_NORM})",
        f"dtype: model.embed_vision.embedding_projection.weight is I8: {QUANTIZED}",
    }
    assert str(error.value).startswith(f"{directory}: {len(error.value.problems)} problems\n  ")
    after = composed_tensors(model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_transposed_matrix_is_mis_shaped(dense, tmp_path: Path):
    tensors = load_file(dense.directory / SINGLE)
    name = "model.language_model.layers.0.mlp.down_proj.weight"
    save_file(tensors | {name: tensors[name].T.contiguous()}, tmp_path / SINGLE)
    with pytest.raises(
        CheckpointError, match=r"shape: .*mlp\.down_proj\.weight: expected \[48, 72\], found \[72, 48\]"
    ):
        import_weights(dense.build(), tmp_path)


class TestTiedEmbeddings:
    TABLE = "model.language_model.embed_tokens.weight"

    def table(self, model: nn.Module) -> torch.Tensor:
        return composed_tensors(model)["language_model.embedding.word_embeddings.weight"]

    def test_both_names_the_same(self, experts, changed):
        directory = changed(**{"lm_head.weight": experts.state["lm_head.weight"].clone()})
        model = experts.build()
        assert import_weights(model, directory).tensors == len(experts.state)
        assert torch.equal(self.table(model), experts.state[self.TABLE])

    def test_only_the_other_name(self, experts, changed):
        directory = changed(**{"lm_head.weight": experts.state["lm_head.weight"].clone(), self.TABLE: None})
        model = experts.build()
        import_weights(model, directory)
        assert torch.equal(self.table(model), experts.state[self.TABLE])

    def test_neither(self, experts, changed):
        with pytest.raises(CheckpointError, match=r"missing: model\.language_model\.embed_tokens\.weight \[128, 48\]"):
            import_weights(experts.build(), changed(**{self.TABLE: None}))

    def test_two_different_tables_are_not_one(self, experts, changed):
        other = experts.state["lm_head.weight"].clone()
        other[-1, -1] += 1
        message = (
            r"lm_head\.weight differs from model\.language_model\.embed_tokens\.weight, but the model has one tensor"
        )
        with pytest.raises(CheckpointError, match=message):
            import_weights(experts.build(), changed(**{"lm_head.weight": other}))

    def test_two_tables_of_different_sizes(self, experts, changed):
        with pytest.raises(CheckpointError, match=r"shape: lm_head\.weight: expected \[128, 48\], found \[64, 48\]"):
            import_weights(experts.build(), changed(**{"lm_head.weight": torch.zeros(64, 48)}))

    def test_untied_models_read_both(self, make_checkpoint):
        checkpoint = make_checkpoint(tied=False)
        model = checkpoint.build()
        import_weights(model, checkpoint.directory)
        output = composed_tensors(model)["language_model.output_layer.weight"]
        assert torch.equal(output, checkpoint.state["lm_head.weight"])
        assert not torch.equal(output, self.table(model))


def test_a_tensor_without_a_name_is_an_error(dense):
    model = dense.build()
    model.language_model.register_parameter("extra", nn.Parameter(torch.zeros(2)))
    with pytest.raises(CheckpointError, match=r"language_model\.extra of the model has no Hugging Face name"):
        import_weights(model, dense.directory)


def test_a_name_without_a_tensor_is_an_error(dense):
    model = dense.build()
    model.language_model.decoder.final_layernorm = nn.Identity()
    with pytest.raises(CheckpointError, match=r"final_layernorm\.weight is in the map but not in the model"):
        import_weights(model, dense.directory)


def test_a_stale_index_is_said(experts, tmp_path: Path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"gone\.safetensors is named in the index but absent"):
        import_weights(experts.build(), tmp_path)
