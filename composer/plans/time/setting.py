"""From a job and an execution to the `Setting` that a decoder's costs are asked for; equal ones are one object."""

from functools import cache

from composer.plans.costs import Setting
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel
from composer.plans.pairs import Sequence, allowed_pairs, is_causal, reached_pairs

BLOCK_QUERIES = 512
"""Queries that masked attention takes at a time in long sequences; see `components.language.attention_blocks`."""


def setting_of(model: PlannedModel, job: Job, layout: Layout, micro_batch: int) -> Setting:
    """With the pairs of every layer kind; of the layout, only what changes work and messages is kept."""
    split = (layout.tp, layout.cp, layout.ep, layout.etp, layout.sequence_parallel)
    return _setting(model, job, split, micro_batch)


@cache
def _setting(model: PlannedModel, job: Job, split: tuple[int, int, int, int, bool], micro_batch: int) -> Setting:
    tp, cp, ep, etp, sequence_parallel = split
    sequence = Sequence(job.seq, job.images, job.image_tokens)
    rules = tuple(model.rules.items())
    return Setting(
        micro_batch=micro_batch,
        seq=job.seq,
        layout=Layout(tp=tp, cp=cp, ep=ep, etp=etp, sequence_parallel=sequence_parallel),
        implementation=job.implementation,
        element=job.element,
        pairs=tuple((kind, allowed_pairs(rule, sequence)) for kind, rule in rules),
        fused=tuple(kind for kind, rule in rules if is_causal(rule)),
        reached=tuple((kind, reached_pairs(rule, sequence, BLOCK_QUERIES)) for kind, rule in rules),
    )
