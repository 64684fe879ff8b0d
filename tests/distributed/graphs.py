"""The shipped spec at sizes that two tensor-parallel ranks can share."""

from composer import Graph
from tests.parity.shipped_spec import tiny_graph

VARIANTS = {"experts": 0, "dense": 1}
# Full layers of the tiny model have a single key/value head otherwise.
HEADS = (
    "hf.text_config.num_attention_heads=8",
    "hf.text_config.kinds.sliding_attention.num_key_value_heads=4",
    "hf.text_config.kinds.full_attention.num_key_value_heads=2",
)


def tiny(variant: str) -> Graph:
    return tiny_graph(VARIANTS[variant], HEADS)
