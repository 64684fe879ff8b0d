"""The shipped spec at sizes for tests."""

from pathlib import Path

from adapters.parity.tiny import splittable
from adapters.parity.variants import AS_CONFIGURED, all_variants, variants
from composer import Graph, load

SPECS = Path(__file__).parents[2] / "specs"
SPEC = SPECS / "gemma4_vl.yaml"


def tiny_graph(variant: int = 0, overrides: tuple[str, ...] = ()) -> Graph:
    """The shipped spec at a tiny size: 0 with experts, 1 dense."""
    found = variants(SPEC, load(SPEC).hf_config)
    return load(SPEC, hf=found[variant].hf_config, overrides=overrides)


def tiny_of(name: str, variant: str = AS_CONFIGURED, overrides: tuple[str, ...] = (), ranks: int = 1) -> Graph:
    """Any shipped spec at a tiny size, by its name and a variant's, for `ranks` tensor-parallel ranks to share."""
    spec = SPECS / f"{name}.yaml"
    found = {each.name: each.hf_config for each in all_variants(spec, load(spec), given=False)}
    return load(spec, hf=splittable(found[variant], ranks) if ranks > 1 else found[variant], overrides=overrides)
