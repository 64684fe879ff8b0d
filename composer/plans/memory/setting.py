"""From a job and an execution to the `Setting` that a decoder's costs are asked for; equal ones are one object."""

from functools import cache
from typing import Literal

from composer.masks import Prefix, SameRun, leaves
from composer.plans.costs import Setting
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel
from composer.plans.pairs import is_causal

Device = Literal["cuda", "cpu"]
FIELDS = 3
"""Integers of mask metadata that every rule needs: position, document, validity."""


def setting_of(model: PlannedModel, job: Job, layout: Layout, micro_batch: int, device: Device = "cuda") -> Setting:
    """Without pairs of the masks, which memory does not depend on."""
    split = (layout.tp, layout.cp, layout.ep, layout.etp, layout.sequence_parallel)
    recompute = (layout.recompute, layout.recompute_modules)
    return _setting(model, job.seq, job.precision, job.implementation, micro_batch, split, recompute, device)


@cache
def _setting(
    model: PlannedModel,
    seq: int,
    precision: Literal["fp32", "bf16"],
    implementation: Literal["local", "transformer_engine"],
    micro_batch: int,
    split: tuple[int, int, int, int, bool],
    recompute: tuple[Literal["none", "full", "selective"], tuple[str, ...]],
    device: Device,
) -> Setting:
    tp, cp, ep, etp, sequence_parallel = split
    layout = Layout(
        tp=tp,
        cp=cp,
        ep=ep,
        etp=etp,
        sequence_parallel=sequence_parallel,
        recompute=recompute[0],
        recompute_modules=recompute[1],
    )
    return Setting(
        micro_batch=micro_batch,
        seq=seq,
        layout=layout,
        implementation=implementation,
        element=2 if precision == "bf16" else 4,
        fused=fused_kinds(model),
        mask_fields=mask_fields(model),
        device=device,
    )


@cache
def fused_kinds(model: PlannedModel) -> tuple[str, ...]:
    """Layer kinds whose rule is causal, perhaps with windows: what Transformer Engine has a kernel for."""
    return tuple(kind for kind, rule in model.rules.items() if is_causal(rule))


@cache
def mask_fields(model: PlannedModel) -> int:
    """Integers per token: what every rule needs, one for each set of tokens that makes runs, and each prefix.

    Levels of features need one more, the number of a token's row.
    """
    found = [leaf for rule in model.rules.values() for leaf in leaves(rule)]
    runs = {frozenset(leaf.tokens) for leaf in found if isinstance(leaf, SameRun)}
    prefixes = {leaf.token for leaf in found if isinstance(leaf, Prefix)}
    return FIELDS + len(runs) + len(prefixes) + bool(model.levels)
