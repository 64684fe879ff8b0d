"""Gemma 4 26B-A4B from the shipped spec, as Megatron-Bridge runs it: every layer's kernel causal (its image mask does
nothing), tower frozen, one image of 256 tokens in each sample (the card does not say how many).
"""

from pathlib import Path

from attrs import evolve

from adapters.plans.inventory import inventory
from benchmarks.planner.fused_stack import FusedStack
from composer import load
from composer.masks import parse
from composer.plans.inventory import Inventory, Parameter
from composer.plans.model import PlannedModel

SPEC = Path(__file__).parents[2] / "specs" / "gemma4_vl.yaml"
RANK = 32


def gemma4_sft() -> PlannedModel:
    """All but the tower trains."""
    found = inventory(load(SPEC))
    return _planned(found, frozenset(each.name for each in found.parameters if each.node != "vision_tower"))


def gemma4_lora() -> PlannedModel:
    """Adapters of rank 32 train, on matrices outside of experts; their own small products are left out."""
    found = inventory(load(SPEC))
    extra = []
    for each in found.parameters:
        if each.node == "language_model" and each.part in ("attention", "dense") and len(each.shape) == 2:
            shape = (RANK, sum(each.shape))
            extra.append(Parameter(f"{each.name}.adapter", each.node, "norms", shape, None, each.layer))
    with_adapters = evolve(found, parameters=(*found.parameters, *extra))
    return _planned(with_adapters, frozenset(each.name for each in extra))


def _planned(found: Inventory, trained: frozenset[str]) -> PlannedModel:
    rules = {"sliding_attention": parse("causal & window(1024)"), "full_attention": parse("causal")}
    return PlannedModel(found, "language_model", FusedStack(load(SPEC).decoder().config), rules, trained)
