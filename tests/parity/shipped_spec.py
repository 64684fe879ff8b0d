"""The shipped spec at sizes for tests."""

from pathlib import Path

from adapters.parity.variants import variants
from composer import Graph, load

SPEC = Path(__file__).parents[2] / "specs" / "gemma4_vl.yaml"


def tiny_graph(variant: int = 0, overrides: tuple[str, ...] = ()) -> Graph:
    """The shipped spec at a tiny size: 0 with experts, 1 dense."""
    found = variants(SPEC, load(SPEC).hf_config)
    return load(SPEC, hf=found[variant].hf_config, overrides=overrides)
