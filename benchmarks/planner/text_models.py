"""Qwen3-8B and Qwen3-30B-A3B: decoders that `language.gpt` can describe. Sizes from their public configurations."""

from typing import Literal

from benchmarks.planner.fused_stack import FusedStack
from benchmarks.planner.parameters import planned
from components.language.feed_forward_declaration import Dense, Experts, FeedForward
from components.language.gpt_declaration import Attention, DecoderConfig, Gpt, Layer, Layers
from components.language.rope_declaration import Rope
from composer.plans.model import PlannedModel


def qwen3_8b() -> PlannedModel:
    """36 dense layers."""
    section = qwen3_section("8b")
    return planned(section, "Qwen3-8B", FusedStack(section))


def qwen3_30b_a3b(nodes: int) -> PlannedModel:
    """48 layers of 128 experts, 8 to a token. nodes: that its expert-parallel ranks stand on."""
    section = qwen3_section("30b")
    return planned(section, "Qwen3-30B-A3B", FusedStack(section, nodes=nodes))


def qwen3_section(size: Literal["8b", "30b"]) -> Gpt:
    """What a spec of one of the two would say of its decoder."""
    if size == "8b":
        return _qwen3(36, 4096, 8, FeedForward(dense=Dense(12_288)))
    return _qwen3(48, 2048, 4, FeedForward(experts=Experts(128, 8, 768)))


def _qwen3(layers: int, hidden: int, kv_heads: int, ffn: FeedForward) -> Gpt:
    attention = Attention(heads=32, kv_heads=kv_heads, head_dim=128, q_norm="rms", k_norm="rms")
    layer = Layer(attention, Rope(1e6), ffn=ffn)
    return Gpt(DecoderConfig(layers, hidden, 151_936, 40_960), Layers(("layer",) * layers, {"layer": layer}))
