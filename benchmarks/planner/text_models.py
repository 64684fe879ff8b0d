"""Qwen3-8B and Qwen3-30B-A3B: decoders that `language.gpt` can describe. Sizes from their public configurations."""

from benchmarks.planner.fused_stack import FusedStack
from benchmarks.planner.parameters import planned
from components.language.gpt_declaration import (
    Attention,
    DecoderConfig,
    Dense,
    Experts,
    FeedForward,
    Gpt,
    Layer,
    Layers,
    Rope,
)
from composer.plans.model import PlannedModel


def qwen3_8b() -> PlannedModel:
    """36 dense layers."""
    section = _qwen3(36, 4096, 8, FeedForward(dense=Dense(12_288)))
    return planned(section, "Qwen3-8B", FusedStack(section))


def qwen3_30b_a3b(nodes: int) -> PlannedModel:
    """48 layers of 128 experts, 8 to a token. nodes: that its expert-parallel ranks stand on."""
    section = _qwen3(48, 2048, 4, FeedForward(experts=Experts(128, 8, 768)))
    return planned(section, "Qwen3-30B-A3B", FusedStack(section, nodes=nodes))


def _qwen3(layers: int, hidden: int, kv_heads: int, ffn: FeedForward) -> Gpt:
    attention = Attention(heads=32, kv_heads=kv_heads, head_dim=128, q_norm="rms", k_norm="rms")
    layer = Layer(attention, Rope(1e6), ffn)
    return Gpt(DecoderConfig(layers, hidden, 151_936, 40_960), Layers(("layer",) * layers, {"layer": layer}))
