"""Frequencies, factors and axes of rotation columns, bit for bit those of transformers."""

from types import SimpleNamespace

import pytest
import torch
from attrs import evolve
from torch.testing import assert_close
from transformers import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.ernie4_5_vl_moe.modeling_ernie4_5_vl_moe import Ernie4_5_VLMoeTextRotaryEmbedding
from transformers.models.ernie4_5_vl_moe.modeling_ernie4_5_vl_moe import apply_rotary_pos_emb as turn_adjacent
from transformers.models.glm4v_moe.modeling_glm4v_moe import Glm4vMoeTextRotaryEmbedding
from transformers.models.glm4v_moe.modeling_glm4v_moe import apply_rotary_pos_emb as turn_part
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

from adapters.parity.oracle import build_oracle
from components.fusion.rotary import rotation
from components.language.attention_declaration import Attention
from components.language.feed_forward_declaration import Dense, FeedForward
from components.language.frequencies import inverse_frequencies, rotation_table
from components.language.gpt_declaration import DecoderConfig, Gpt, Layer, Layers
from components.language.rope_declaration import Rope, Scaling, section_axes
from components.language.rotation import rotate
from components.language.rotation_columns import Columns, rotation_columns
from tests.parity.shipped_spec import tiny_graph

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"factor": 40.0, "beta_fast": 32.0, "beta_slow": 1.0}
STRETCHED = {
    "linear": {"factor": 8.0},
    "llama3": {**LLAMA3, "original_max_position_embeddings": 8192},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 4096},
    "yarn with factors": {**YARN, "original_max_position_embeddings": 4096, "mscale": 0.7, "mscale_all_dim": 1.0},
    "yarn without whole borders": {**YARN, "original_max_position_embeddings": 4096, "truncate": False},
    "yarn, sharpened": {**YARN, "original_max_position_embeddings": 4096, "attention_factor": 1.3},
    "proportional": {"factor": 2.0},
}


def section(**kinds: Rope | None) -> Gpt:
    layers = {
        kind: Layer(Attention(4, 2, 16), ffn=FeedForward(dense=Dense(16)), rope=rope) for kind, rope in kinds.items()
    }
    return Gpt(DecoderConfig(len(kinds), 64, 256, 256), Layers(tuple(kinds), layers))


@pytest.mark.parametrize("kind", ["sliding_attention", "full_attention"])
def test_frequencies_of_a_model_are_transformers_own_bits(kind):
    graph = tiny_graph(0)
    table = build_oracle(graph).model.language_model.rotary_emb
    layer = graph.decoder().config.layers.kinds[kind]
    ours, _ = inverse_frequencies(layer.attention.head_dim, layer.rope)
    assert torch.equal(ours, getattr(table, f"{kind}_inv_freq"))


@pytest.mark.parametrize("partial", [1.0, 0.5])
@pytest.mark.parametrize("name", STRETCHED)
def test_stretched_frequencies_are_transformers_own_bits(name, partial):
    kind, values = name.split()[0].rstrip(","), STRETCHED[name]
    config = PreTrainedConfig(
        head_dim=64,
        hidden_size=256,
        num_attention_heads=4,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": kind, "rope_theta": 5e5, "partial_rotary_factor": partial, **values},
    )
    theirs, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    original = {"original_max_positions": values.get("original_max_position_embeddings")}
    rest = {key: value for key, value in values.items() if key != "original_max_position_embeddings"}
    rope = Rope(5e5, kind, partial, Scaling(**rest, **original))
    ours, our_factor = inverse_frequencies(rope.width(64), rope)
    assert torch.equal(ours, theirs)
    assert our_factor == factor


AXES = {
    "contiguous": (Qwen2_5_VLRotaryEmbedding, [2, 3, 3], 1.0, "halves"),
    "interleaved": (Qwen3VLTextRotaryEmbedding, [3, 3, 2], 1.0, "halves"),
    "height_width_time": (Ernie4_5_VLMoeTextRotaryEmbedding, [3, 3, 2], 1.0, "adjacent"),
    "contiguous, partial": (Glm4vMoeTextRotaryEmbedding, [1, 2, 1], 0.5, "halves"),
}


@pytest.mark.parametrize("name", AXES)
def test_heads_turn_as_transformers_turns_them(name):
    table, sections, partial, pairs = AXES[name]
    rope = Rope(1e4, "default", partial, None, pairs, tuple(sections), name.split(",")[0])
    parameters = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}
    config = SimpleNamespace(
        max_position_embeddings=64,
        head_dim=16,
        rope_parameters=parameters | {"partial_rotary_factor": partial},
    )
    positions = torch.randint(40, (3, 2, 5), generator=torch.Generator().manual_seed(0))
    query = torch.randn(5, 2, 4, 16, generator=torch.Generator().manual_seed(1))
    theirs_in = query.permute(1, 2, 0, 3)  # [B, N, S, D]
    cos, sin = table(config)(theirs_in, positions)
    turn = turn_adjacent if pairs == "adjacent" else turn_part
    theirs, _ = turn(theirs_in, theirs_in, cos, sin)
    graph = section(full=rope)
    ours = rotate(query, rotation(positions, rotation_table(graph), torch.float32), rotation_columns(graph)["full"])
    assert torch.equal(ours, theirs.permute(2, 0, 1, 3))


def test_layers_without_rotation_stand_still_and_kinds_with_the_same_angles_share_columns():
    near, far = Rope(1e4), Rope(1e6, partial=0.5)
    columns = rotation_columns(section(near=near, none=None, far=far, again=evolve(near, pairs="adjacent")))
    assert columns == {
        "near": Columns(0, 8),
        "none": None,
        "far": Columns(8, 12),
        "again": Columns(0, 8, "adjacent"),
    }
    heads = torch.randn(2, 1, 1, 16)
    assert rotate(heads, torch.ones(2, 2, 1, 1, 12), None) is heads


def test_a_table_knows_factors_only_where_there_are_some():
    plain = rotation_table(section(near=Rope(1e4)))
    assert plain.factors is None
    assert plain.axes is None
    yarn = Rope(1e4, "yarn", scaling=Scaling(4.0, original_max_positions=64))
    both = rotation_table(section(near=Rope(1e4), far=yarn))
    assert both.factors is not None
    assert both.factors[:8].eq(1).all()
    assert_close(both.factors[8:], torch.full((8,), 0.1 * torch.tensor(4.0).log().item() + 1))


def test_axes_by_order():
    assert section_axes((1, 2, 1), "contiguous") == (0, 1, 1, 2)
    assert section_axes((3, 3, 2), "interleaved") == (0, 1, 2, 0, 1, 2, 0, 1)
    assert section_axes((2, 2, 1), "height_width_time") == (1, 2, 1, 2, 0)
