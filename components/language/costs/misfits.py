"""Why a decoder cannot run in a layout: what Megatron-Core or this package would refuse when the model is built."""

from collections.abc import Iterator

from components.language.gpt_declaration import Gpt
from composer.plans.layout import Layout

RECOMPUTED = ("core_attn", "mlp", "moe")
"""What `selective` knows how to compute again in this decoder's layers."""


def misfits(section: Gpt, layout: Layout) -> tuple[str, ...]:
    """One sentence each, without a full stop; empty if the decoder can run."""
    return (*_tensor(section, layout), *_experts(section, layout), *_recomputation(section, layout))


def _tensor(section: Gpt, layout: Layout) -> Iterator[str]:
    tp = layout.tp
    for kind in dict.fromkeys(section.layers.names):
        layer = section.layers.whole(kind)
        if layer.delta_net is not None and layer.delta_net.key_heads % (tp * layout.cp):
            ranks = f"{tp} tensor-parallel" + (f" and {layout.cp} context-parallel" if layout.cp > 1 else "")
            yield f"{layer.delta_net.key_heads} key heads of {kind} layers cannot be split over {ranks} ranks"
        if layer.attention is not None and layer.attention.kv_heads % tp:
            heads = layer.attention.kv_heads
            yield f"{heads} key/value heads of {kind} layers cannot be split over {tp} tensor-parallel ranks"
        if layer.ffn.dense is not None and layer.ffn.dense.intermediate_size % tp:
            width = layer.ffn.dense.intermediate_size
            yield f"the feed-forward width {width} of {kind} layers cannot be split over {tp} tensor-parallel ranks"
    if section.config.vocab_size % tp:
        yield f"a vocabulary of {section.config.vocab_size} cannot be split over {tp} tensor-parallel ranks"


def _experts(section: Gpt, layout: Layout) -> Iterator[str]:
    found = [ffn.experts for ffn in section.layers.feed_forwards.values()]
    part = next((each for each in found if each is not None), None)
    if part is None:
        if layout.ep > 1 or layout.etp > 1:
            yield f"there are no experts for ep {layout.ep} and etp {layout.etp}: set both to 1"
        return
    if part.num_experts % layout.ep:
        yield f"{part.num_experts} experts cannot be dealt out to {layout.ep} expert-parallel ranks"
    for width in (part.intermediate_size, *(each.intermediate_size for each in part.sets.values())):
        if width % layout.etp:
            yield f"the expert width {width} cannot be split over {layout.etp} ranks"
    if part.shared is not None and part.shared.width % layout.tp:
        yield f"the shared expert's width {part.shared.width} cannot be split over {layout.tp} tensor-parallel ranks"
    if layout.tp > 1 and not layout.sequence_parallel:
        yield f"experts with tp {layout.tp} need sequence parallelism"


def _recomputation(section: Gpt, layout: Layout) -> Iterator[str]:
    if layout.recompute != "selective":
        return
    for module in layout.recompute_modules:
        if module not in RECOMPUTED:
            yield f"this decoder has nothing of the name {module} to compute again: use {', '.join(RECOMPUTED)}"
