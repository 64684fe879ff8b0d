"""The shipped spec at sizes that two tensor-parallel ranks can share."""

from composer import Graph
from tests.parity.shipped_spec import tiny_graph, tiny_of

VARIANTS = {"experts": 0, "dense": 1}
FAMILIES = {"latent": "kimi_k25"}
"""Other specs by the part that no variant above has: they are proved in the same launches, in a few layouts each."""
STORED = {"expert_sets": "ernie4_5_vl_moe", "delta_net": "qwen3_5_moe", "tiles": "llava_next", **FAMILIES}
"""Specs by the part that stores tensors in a way of its own."""
EACH_EXPERT = "each_expert"
"""Another spec, whose files hold every expert's tensors by themselves."""
# Full layers of the tiny model have a single key/value head otherwise.
HEADS = (
    "hf.text_config.num_attention_heads=8",
    "hf.text_config.kinds.sliding_attention.num_key_value_heads=4",
    "hf.text_config.kinds.full_attention.num_key_value_heads=2",
)


def tiny(variant: str) -> Graph:
    if variant == EACH_EXPERT:
        return tiny_of("internvl", "internvl_qwen3_moe", ranks=2)
    if variant in STORED:
        return tiny_of(STORED[variant], ranks=2)
    return tiny_graph(VARIANTS[variant], HEADS)
