"""Latent attention against transformers' layer with the same weights, and values narrower than keys block by block."""

import copy

import pytest
import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.transformer_config import TransformerConfig
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

from adapters.megatron import runtime
from components.fusion.mask_metadata import MetadataLayout
from components.language import core_attention
from components.language.attention_declaration import Attention
from components.language.core_attention import DenseMasks, MaskedAttention
from components.language.latent_attention import LatentAttention
from components.language.latent_declaration import Latent
from components.language.rotation_columns import Columns
from composer import masks

HEADS, HIDDEN, LENGTH, ROPE = 4, 24, 12, 6
NAMES = {
    "linear_q_proj": "q_proj",
    "linear_q_down_proj": "q_a_proj",
    "q_layernorm": "q_a_layernorm",
    "linear_q_up_proj": "q_b_proj",
    "linear_kv_down_proj": "kv_a_proj_with_mqa",
    "kv_layernorm": "kv_a_layernorm",
    "linear_kv_up_proj": "kv_b_proj",
    "linear_proj": "o_proj",
}


@pytest.fixture
def oracle(request):
    torch.manual_seed(0)
    config = DeepseekV3Config(
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        q_lora_rank=request.param,
        kv_lora_rank=10,
        qk_nope_head_dim=8,
        qk_rope_head_dim=ROPE,
        v_head_dim=5,
        rope_interleave=False,
        attn_implementation="eager",
    )
    layer = DeepseekV3Attention(config, 0).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def ours(oracle, **settings) -> LatentAttention:
    """Our layer with the oracle's weights, in float64."""
    latent = Latent(10, ROPE, 5, oracle.q_lora_rank, norm_eps=1e-6)
    part = Attention(HEADS, HEADS, 8 + ROPE, latent=latent)
    rule = masks.parse("causal")
    layout = MetadataLayout.for_rules([rule], {})
    config = TransformerConfig(
        num_layers=1,
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        layernorm_epsilon=0.5,
        params_dtype=torch.float64,
        use_cpu_initialization=True,
        transformer_impl="local",
        **settings,
    )
    core = MaskedAttention(rule, DenseMasks(layout), oracle.scaling, 0.0)
    groups = ProcessGroupCollection.use_mpu_process_groups(["tp", "cp"])
    made = LatentAttention(config, 1, part, False, Columns(0, ROPE // 2), core, groups)
    weights = oracle.state_dict()
    for name, parameter in made.named_parameters():
        parameter.data.copy_(weights[f"{NAMES[name.removesuffix('.weight')]}.weight"])
    return made


def run(layer, hidden):
    angles = torch.arange(LENGTH).double()[:, None] * torch.tensor([1.0, 0.3, 0.05]).double()
    metadata = layer.core_attention.masks.layout.build(torch.ones(2, LENGTH, dtype=torch.int64))
    rotation = torch.stack((angles.cos(), angles.sin()))[:, :, None, None].expand(-1, -1, 2, -1, -1)
    output, bias = layer(hidden.transpose(0, 1), metadata, rotation)
    assert bias is None
    return output.transpose(0, 1)


def expected(oracle, hidden):
    angles = torch.arange(LENGTH).double()[:, None] * torch.tensor([1.0, 0.3, 0.05, 1.0, 0.3, 0.05]).double()
    mask = torch.full((LENGTH, LENGTH), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    # The oracle's softmax is in float32.
    return oracle(hidden, (angles.cos()[None], angles.sin()[None]), mask)[0]


@pytest.mark.parametrize("oracle", [None, 14], indirect=True, ids=["queries at once", "queries of a latent"])
def test_output_and_every_gradient_are_the_oracles(oracle):
    hidden = torch.randn(2, LENGTH, HIDDEN, dtype=torch.float64)
    with runtime.layout():
        layer = ours(oracle)
        found, right = run(layer, hidden), expected(oracle, hidden)
        assert (found - right).norm() < 1e-6 * right.norm()
        found.square().sum().backward()
        right.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in oracle.named_parameters()}
        for name, parameter in layer.named_parameters():
            gradient = gradients.pop(f"{NAMES[name.removesuffix('.weight')]}.weight")
            assert (parameter.grad - gradient).norm() < 1e-6 * gradient.norm(), name
        assert not gradients


@pytest.mark.parametrize("oracle", [14], indirect=True)
def test_attention_computed_again_is_the_same(oracle):
    """Outputs and gradients, those of the projection inside what is computed again too."""
    given = torch.randn(2, LENGTH, HIDDEN, dtype=torch.float64)
    with runtime.layout():
        found = []
        for settings in ({}, {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]}):
            layer, hidden = ours(oracle, **settings).train(), given.clone().requires_grad_()
            output = run(layer, hidden)
            output.square().sum().backward()
            found.append((output, hidden.grad, *(parameter.grad for parameter in layer.parameters())))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_narrow_values_block_by_block(monkeypatch):
    rule = masks.parse("causal & window(40)")
    layout = MetadataLayout.for_rules([rule], {})
    module = MaskedAttention(rule, DenseMasks(layout), 0.3, 0.0)
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(96, 2, 4, width, generator=generator, dtype=torch.float64, requires_grad=True)
        for width in (8, 8, 5)
    ]
    metadata = layout.build(torch.ones(2, 96, dtype=torch.int64))
    table = module(*given, metadata)
    assert table.shape == (96, 2, 4 * 5)
    gradients = torch.autograd.grad(table.square().sum(), given)
    monkeypatch.setattr(core_attention, "TABLE_PAIRS", 1)
    monkeypatch.setattr(core_attention, "BLOCK_QUERIES", 20)
    blocks = module(*given, copy.copy(metadata))
    assert torch.allclose(blocks, table, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad(blocks.square().sum(), given), gradients, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
