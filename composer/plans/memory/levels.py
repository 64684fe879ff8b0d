"""What a stage keeps and sends of features that are added between decoder layers."""

from attrs import frozen

from composer.plans.costs import Setting
from composer.plans.memory.towers import Images
from composer.plans.model import PlannedModel
from composer.plans.placement import Chunk

PLACE = 8
"""Bytes per row of the token it is added to: an int64, for the way back."""


@frozen
class LevelBytes:
    """Of one stage and one micro-batch. kept: by its layers; sent: to the next stage, and what came from the last."""

    kept: int = 0
    sent: int = 0


def level_bytes(model: PlannedModel, chunk: Chunk, setting: Setting, images: Images, width: int) -> LevelBytes:
    """Bytes of levels, each rank with the rows of its own tokens.

    Adding keeps no values, only places; where layers are computed again, each of them is given the levels once more.

    Args:
        model: what is trained.
        chunk: the stage.
        setting: how it runs.
        images: of a sample.
        width: of a row.
    """
    layout = setting.layout
    ranks = layout.cp * (layout.tp if layout.sequence_parallel else 1)
    rows = -(-images.number * setting.micro_batch * images.rows // ranks)
    added = sum(layer in chunk.layers for layer in model.levels)
    # Chunks hold layers in order: what is added on no earlier stage arrives.
    first = chunk.layers[0] if len(chunk.layers) else 0
    arriving = sum(layer >= first for layer in model.levels) if len(chunk.layers) or chunk.first else 0
    leaving = 0 if chunk.last else arriving - added
    level = rows * width * setting.element
    again = arriving * level if chunk.first and layout.recompute == "full" and added else 0
    return LevelBytes(added * rows * PLACE + again, (leaving + (0 if chunk.first else arriving)) * level)
