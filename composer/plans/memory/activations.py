"""What the stages of a pipeline rank keep of one micro-batch, and what lives there for a moment.

Frozen parts keep what they need to pass a gradient on, and nothing where none flows to them.
"""

from collections import Counter
from functools import cache

from attrs import frozen

from composer.plans.costs import Counts, Setting
from composer.plans.memory.levels import LevelBytes, level_bytes
from composer.plans.memory.towers import Images, towers_of
from composer.plans.model import PlannedModel
from composer.plans.placement import Chunk

LOGITS = "logits"
WIDE = 4  # bytes of float32


@frozen(eq=False)
class StageBytes:
    """Of one stage and one micro-batch.

    layers: kept by them, by the embedding and the final norm. sent: what goes to the next stage, and what came from the
    one before, where nothing else keeps it.

    For a moment: making, in the forward pass before the layers; layer, within one; head, at the logits; head_gradient,
    of the output layer's weight, beside the gradient of the logits that it is made from; pending, of a tied table,
    which waits for the embedding's through the whole backward pass.
    """

    layers: int
    towers: int
    masks: int
    logits: int
    sent: int
    making: int
    layer: int
    head: int
    head_gradient: int
    pending: int


@cache
def stage_bytes(model: PlannedModel, chunk: Chunk, setting: Setting, images: Images) -> StageBytes:
    """Everything but parameters that a stage needs room for."""
    decoder, layers = model.decoder, _keeping(model, chunk)
    stage, kinds = decoder.stage(setting), {decoder.kinds[layer] for layer in chunk.layers}
    kept = sum(count * _kept(decoder.layer(kind, setting), parts) for (kind, parts), count in layers.items())
    making, towers, logits, head, head_gradient, pending = stage.transient, 0, 0, 0, 0, 0
    if chunk.first:
        embedding = decoder.embedding(setting)
        kept += _kept(embedding, _around(model))
        making = max(making, embedding.transient)
        towers = towers_of(model, images, setting)
    if chunk.last:
        around, parts = decoder.head(setting), _around(model)
        of_logits = sum(each.bytes for each in around.saved if each.part == LOGITS)
        table = _table_gradient(model, setting)
        if not chunk.first or model.trains_from is not None or parts:
            logits, kept = of_logits, kept + _kept(around, parts) - of_logits
        head, head_gradient = around.transient, around.transient + table
        pending = table if chunk.first and model.inventory.tied else 0
    levels = level_bytes(model, chunk, setting, images, table_of(model)[1]) if model.levels else LevelBytes()
    return StageBytes(
        layers=kept + (levels.kept if layers else 0),
        towers=towers,
        masks=stage.kept if layers else 0,
        logits=logits,
        sent=_sent(model, chunk, setting) + levels.sent,
        making=making,
        layer=max((decoder.layer(kind, setting).transient for kind in kinds), default=0),
        head=head,
        head_gradient=head_gradient,
        pending=pending,
    )


def _kept(costs: Counts, trained: frozenset[str]) -> int:
    return sum(each.bytes for each in costs.saved if each.needs == "upstream" or each.part in trained)


@cache
def _keeping(model: PlannedModel, chunk: Chunk) -> Counter[tuple[str, frozenset[str]]]:
    """Layers of a stage that a gradient passes, by kind and by which of their parts train."""
    first = 0
    if chunk.first:
        # The first layer that trains is the first to keep anything.
        first = len(model.decoder.kinds) if model.trains_from is None else max(model.trains_from - 1, 0)
    trained = _trained_parts(model)
    return Counter((model.decoder.kinds[layer], trained[layer]) for layer in chunk.layers if layer >= first)


@cache
def _trained_parts(model: PlannedModel) -> tuple[frozenset[str], ...]:
    """Of every decoder layer."""
    found: list[set[str]] = [set() for _ in model.decoder.kinds]
    for tally in model.tallies:
        if tally.node == model.decoder_node and tally.layer is not None and tally.trained:
            found[tally.layer].add(tally.part)
    return tuple(map(frozenset, found))


@cache
def _around(model: PlannedModel) -> frozenset[str]:
    """Parts of the decoder outside its layers that train; a tied table is the head too."""
    own = [tally for tally in model.tallies if tally.node == model.decoder_node and tally.layer is None]
    parts = {str(tally.part) for tally in own if tally.trained}
    return frozenset(parts | {"head"} if model.inventory.tied and "embeddings" in parts else parts)


@cache
def table_of(model: PlannedModel) -> tuple[int, int]:
    """Words and width of the decoder's embedding table."""
    shapes = [p.shape for p in model.inventory.parameters if p.node == model.decoder_node and p.part == "embeddings"]
    return (shapes[0][0], shapes[0][-1]) if shapes else (0, 0)


def _table_gradient(model: PlannedModel, setting: Setting) -> int:
    """Of the output layer's weight, before it is added to the float32 sums."""
    words, width = table_of(model)
    return words // setting.layout.tp * width * setting.element if "head" in _around(model) else 0


def _sent(model: PlannedModel, chunk: Chunk, setting: Setting) -> int:
    """Megatron-Core's schedules hold on to both tensors of a stage until its backward pass."""
    layout = setting.layout
    outer = layout.cp * (layout.tp if layout.sequence_parallel else 1)
    one = setting.micro_batch * setting.seq // outer * table_of(model)[1] * setting.element
    # The first norm keeps the tensor that was received, unless it is ours and makes a float32 copy.
    copied = setting.element < WIDE and setting.implementation == "local" and layout.recompute != "full"
    return (0 if chunk.last else one) + (one if copied and not chunk.first else 0)
