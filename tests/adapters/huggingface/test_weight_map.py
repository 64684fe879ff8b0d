"""The table of names: well formed, complete for what transformers has in memory, and free of family names."""

import pytest
import torch
from attrs import evolve
from transformers import (
    Gemma4ForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.config import plain
from adapters.huggingface.weight_map import is_tied, weight_map
from adapters.huggingface.weight_operations import MergeHeads
from adapters.huggingface.weight_plan import slots
from adapters.huggingface.weight_rows import holds, parse
from adapters.huggingface.weight_table import DECODER, LAYER
from components.hf_config import to_hf_config
from components.language.feed_forward_declaration import Dense, Experts, FeedForward
from components.language.gpt_declaration import Attention, Layer
from components.language.rope_declaration import Rope
from composer import load
from composer.edges.share import ShareEdge
from tests.adapters.huggingface.tiny_checkpoints import SPEC


def test_the_map_names_what_transformers_has_in_memory(checkpoint):
    """Every name and shape, no more and no less; the tied output is a second name of the table."""
    places = slots(checkpoint.build())
    named = {name: slot.piece.shape for name, slot in places.items()}
    named |= {alias: slot.piece.shape for slot in places.values() for alias in slot.aliases}
    assert named == {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}


def test_an_untied_output_is_a_tensor_of_its_own(make_checkpoint):
    checkpoint = make_checkpoint(tied=False)
    assert not is_tied(checkpoint.graph)
    places = slots(checkpoint.build())
    assert places["lm_head.weight"].composed == "language_model.output_layer.weight"
    assert not places["lm_head.weight"].aliases
    assert set(places) == set(checkpoint.state)


def test_each_entry_says_what_ranks_share(experts):
    entries = weight_map(experts.graph, ["vision_tower.std_bias"])
    split = {entry.composed[0].removeprefix("language_model."): entry.split for entry in entries}
    layer = "decoder.layers.0."
    assert split["embedding.word_embeddings.weight"] == 0
    assert split[f"{layer}self_attention.linear_qkv.weight"] == 0
    assert split[f"{layer}self_attention.linear_proj.weight"] == 1
    assert split[f"{layer}mlp.dense.linear_fc2.weight"] == 1
    assert split[f"{layer}mlp.experts.experts.local_experts.0.linear_fc1.weight"] == "E"
    assert split[f"{layer}input_layernorm.weight"] is None
    assert split["vision_tower.std_bias"] is None


def test_full_layers_merge_no_values(experts):
    entries = {entry.composed[0]: entry for entry in weight_map(experts.graph, [])}
    sliding, full = (
        entries[f"language_model.decoder.layers.{layer}.self_attention.linear_qkv.weight"] for layer in (0, 2)
    )
    assert sliding.operation == MergeHeads(heads=4, groups=2, values=True)
    assert full.operation == MergeHeads(heads=4, groups=1, values=False)
    assert [name.rsplit(".", 2)[1] for name in full.names] == ["q_proj", "k_proj"]


SIZES = {"vocab_size": 32, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
SIZES |= {"num_key_value_heads": 2, "intermediate_size": 40}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 12}


@pytest.mark.parametrize(
    ("model", "ffn"),
    [
        (Qwen3ForCausalLM(Qwen3Config(**SIZES, attention_bias=False)), FeedForward(dense=Dense(40))),
        (Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **EXPERTS)), FeedForward(experts=Experts(3, 2, 12))),
    ],
    ids=["dense", "experts"],
)
def test_decoders_of_other_parts_have_the_names_of_their_families(dense, model, ffn):
    """Pre-norm decoders of another family, from the same table: parts alone decide."""
    attention = Attention(heads=4, kv_heads=2, head_dim=8, q_norm="rms", k_norm="rms")
    layer = Layer(attention=attention, rope=Rope(theta=1e4), ffn=ffn)
    node = dense.graph.decoder()
    config = evolve(node.config, layers=evolve(node.config.layers, order=("full",) * 2, kinds={"full": layer}))
    edges = [edge for edge in dense.graph.edges if not isinstance(edge, ShareEdge)]
    nodes = {node.name: evolve(node, config=config, weights="model")}
    entries = weight_map(evolve(dense.graph, nodes=nodes, edges=edges), [])
    assert sorted(name for entry in entries for name in entry.names) == sorted(model.state_dict())


def test_bias_brings_its_lines():
    layer = Layer(Attention(4, 2, 8, bias=True), ffn=FeedForward(dense=Dense(16)), rope=Rope(1e4))
    chosen = [row.names[0] for row in parse(LAYER) if holds(row.condition, layer) and "bias" in row.composed]
    assert chosen == [("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")]


def test_the_table_is_well_formed():
    rows = [*parse(DECODER), *parse(LAYER)]
    assert len(rows) > 25
    assert len({(row.condition, row.composed) for row in rows}) == len(rows)
    assert not [row for row in rows if "gemma" in str(row).lower()]
    assert {row.split for row in rows} == {None, 0, 1, "E"}


@pytest.mark.parametrize(
    "line", ["    a | b | identity", "    a | b | rotate | -", "    a | b | identity | - | more", "    a"]
)
def test_a_broken_line_is_an_error(line: str):
    with pytest.raises(ValueError, match="not a line of a weight table"):
        parse(line)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("always", True),
        ("ffn.dense", True),
        ("not ffn.experts", True),
        ("norms=pre", True),
        ("not norms=pre", False),
        ("attention.bias", False),
        ("ffn.dense & norms=sandwich", False),
        ("ffn.experts.router.input_scale=learned", False),
    ],
)
def test_headings_read_the_parts(condition: str, expected: bool):
    layer = Layer(Attention(4, 2, 8), ffn=FeedForward(dense=Dense(16)), rope=Rope(1e4))
    assert holds(condition, layer) is expected


def test_a_heading_about_no_field_is_an_error():
    with pytest.raises(AttributeError, match="atention"):
        holds("atention.bias", Layer(Attention(4, 2, 8), ffn=FeedForward(dense=Dense(16)), rope=Rope(1e4)))


@pytest.mark.parametrize("name", ["gemma4_26b_a4b", "gemma4_31b"])
def test_the_real_sizes_are_complete(name: str):
    """Names of the shipped configurations' decoders against transformers' model on meta."""
    graph = load(SPEC, hf=plain(SPEC.parent / "configs" / f"{name}.json"))
    with torch.device("meta"):
        state = Gemma4ForConditionalGeneration(to_hf_config(graph.hf_config)).state_dict()
    entries = weight_map(graph, [])
    named = [name for entry in entries for name in (*entry.names, *entry.aliases)]
    decoder = [name for name in state if not name.startswith(("model.vision_tower.", "model.embed_vision."))]
    assert sorted(named) == sorted(decoder)


def test_experts_in_one_kernel_are_the_same_tensors_under_other_names(experts):
    together = "language_model.decoder.layers.0.mlp.experts.experts.linear_fc1.weight0"
    each, grouped = weight_map(experts.graph, []), weight_map(experts.graph, [together])
    assert [entry.names for entry in each] == [entry.names for entry in grouped]
    before, after = ([name for entry in entries for name in entry.composed] for entries in (each, grouped))
    renamed = dict(zip(before, after, strict=True))
    layer = "language_model.decoder.layers.1.mlp.experts.experts"
    assert renamed[f"{layer}.local_experts.3.linear_fc1.weight"] == f"{layer}.linear_fc1.weight3"
    assert renamed[f"{layer}.local_experts.2.linear_fc2.weight"] == f"{layer}.linear_fc2.weight2"
    assert all(new == old for old, new in renamed.items() if ".experts.experts." not in old)


def test_a_beginning_of_names_that_the_table_lacks_is_an_error():
    spec = SPEC.with_name("glm4v_moe.yaml")
    graph = load(spec)
    decoder = graph.decoder()
    config = evolve(decoder.config, names={**decoder.config.names, "mlp.sharred_expert": "mlp.shared"})
    wrong = evolve(graph, nodes={**graph.nodes, decoder.name: evolve(decoder, config=config)})
    with pytest.raises(CheckpointError, match=r"begins with 'mlp.sharred_expert'. Did you mean 'mlp.shared_expert'\?"):
        weight_map(wrong, ())
    assert weight_map(graph, ())
