"""What towers and projectors keep of the images of one micro-batch.

Ranks that are given the same images encode a share each; the odd ones fall to the last. All hold the features of all,
and run the projector on them. See `adapters.megatron.shared_encoding`.
"""

from functools import cache

from attrs import frozen

from composer.plans.costs import Setting
from composer.plans.inventory import EncoderCosts
from composer.plans.job import Job
from composer.plans.model import PlannedModel

PLACES = 16
"""Bytes per feature row of where it goes: two int64."""


@frozen
class Images:
    """number: of one sample; rows: feature rows of one."""

    number: int
    rows: int

    @classmethod
    def of(cls, job: Job) -> "Images":
        return cls(job.images, job.image_tokens)


@cache
def towers_of(model: PlannedModel, images: Images, setting: Setting) -> int:
    """Bytes on the rank with most images."""
    items = images.number * setting.micro_batch
    sharing = setting.layout.tp * setting.layout.cp
    if items == 0:
        return 0
    kept = 0.0
    for encoder in model.inventory.encoders:
        share = -(-items // sharing) if _is_tower(model, encoder) else items
        kept += share * _of_item(model, encoder, images.rows, setting.element)
    return round(kept) + (PLACES * items * images.rows if _carries_gradient(model) else 0)


def _of_item(model: PlannedModel, encoder: EncoderCosts, rows: int, element: int) -> float:
    trained = _trained_nodes(model)
    if encoder.node in trained:
        return encoder.saved(rows) * element + encoder.saved_wide(rows)
    if encoder.node in _behind_trained(model):
        return encoder.saved_frozen(rows) * element + encoder.saved_frozen_wide(rows)
    return 0.0


@cache
def _behind_trained(model: PlannedModel) -> frozenset[str]:
    """Towers and projectors that pass gradient on to something that trains."""
    behind: set[str] = set()
    for encoder in model.inventory.encoders:  # each after those it reads
        if any(each in behind or each in _trained_nodes(model) for each in encoder.reads):
            behind.add(encoder.node)
    return frozenset(behind)


@cache
def _trained_nodes(model: PlannedModel) -> frozenset[str]:
    return frozenset(tally.node for tally in model.tallies if tally.trained)


@cache
def _is_tower(model: PlannedModel, encoder: EncoderCosts) -> bool:
    return any(tally.node == encoder.node and tally.part == "tower" for tally in model.tallies)


def _carries_gradient(model: PlannedModel) -> bool:
    return model.trains_from == 0
