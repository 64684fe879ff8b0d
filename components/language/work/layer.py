"""Work and messages of one decoder layer."""

from collections.abc import Iterator

from components.language.attention_declaration import Attention
from components.language.feed_forward_declaration import Experts
from components.language.gpt_declaration import Gpt, kind_of
from components.language.work.attention import attention_work
from components.language.work.delta_net import delta_net_work, exchanged
from components.language.work.feed_forward import expert_work, feed_forward_work
from components.language.work.operations import addition, norm, python, scaling
from components.language.work.sizes import Tokens
from composer.plans.costs import Message, Setting, Work


def work_of_layer(section: Gpt, kind: str, setting: Setting) -> tuple[Work, ...]:
    """Operations of one layer's forward pass on one rank."""
    beside = work_beside_experts(section, kind, setting)
    if section.layers.whole(kind).ffn.experts is None:
        return beside
    return beside + work_of_experts(section, kind, setting)


def work_beside_experts(section: Gpt, kind: str, setting: Setting) -> tuple[Work, ...]:
    """Everything but router, dispatch and experts: the same however experts are dealt out."""
    return tuple(_beside_experts(section, kind, setting))


def work_of_experts(section: Gpt, kind: str, setting: Setting) -> tuple[Work, ...]:
    """Router, dispatch and experts of a kind that has them."""
    experts = section.layers.whole(kind).ffn.experts
    assert experts is not None
    return tuple(expert_work(experts, section.config.hidden_size, setting))


def _beside_experts(section: Gpt, kind: str, setting: Setting) -> Iterator[Work]:
    layer, hidden = section.layers.whole(kind), section.config.hidden_size
    elements = Tokens.of(setting).split * hidden
    yield norm("norms", elements, setting)
    if layer.attention is None:
        yield from delta_net_work(layer, hidden, setting)
    else:
        yield from attention_work(layer, hidden, kind_of(kind), setting)
    yield from feed_forward_work(layer, hidden, setting)
    if layer.norms == "sandwich":
        yield norm("norms", elements, setting)
        yield norm("norms", elements, setting)
    yield addition("residual", elements, setting)
    yield addition("residual", elements, setting)
    yield python("layer")
    if layer.output_scale == "layer_scalar":
        yield scaling("residual", elements, setting)


def messages_of_layer(section: Gpt, kind: str, setting: Setting) -> tuple[Message, ...]:
    """Collectives of one layer's forward pass; those of groups of one rank are left out."""
    return tuple(_messages(section, kind, setting))


def _messages(section: Gpt, kind: str, setting: Setting) -> Iterator[Message]:
    layer, layout = section.layers.whole(kind), setting.layout
    tokens = Tokens.of(setting)
    residual = tokens.whole * section.config.hidden_size * setting.element
    if layout.tp > 1:
        yield from attention_messages(layer.attention, residual, section.config.hidden_size, setting)
        shared = None if layer.ffn.experts is None else layer.ffn.experts.shared
        for branch in (layer.ffn.dense, shared):
            if branch is not None:
                yield from tensor_parallel("dense", residual, setting)
    if layout.cp > 1 and layer.attention is not None:
        gathered = setting.micro_batch * setting.seq * _sent_by_token(layer.attention, layout.tp)
        yield Message("core_attention", "all_gather", "cp", gathered * setting.element)
    if layout.cp > 1 and layer.delta_net is not None:
        for channels in exchanged(layer.delta_net, layout.tp):
            yield Message("core_attention", "all_to_all", "cp", tokens.whole * channels * setting.element)
    if layer.ffn.experts is not None:
        yield from _exchange(layer.ffn.experts, tokens.split * section.config.hidden_size * setting.element, setting)


def _sent_by_token(part: Attention, tp: int) -> float:
    """Keys and values of this rank's heads, or what those of all heads are made of."""
    if part.latent is not None:
        return part.latent.kv_rank + part.latent.rope_dim
    return part.kv_heads / tp * (part.head_dim + part.value_dim)


def attention_messages(part: Attention | None, residual: float, hidden: int, setting: Setting) -> Iterator[Message]:
    """Of the tensor-parallel region: with latents, what goes in is narrower than what comes out."""
    if part is None or part.latent is None:
        yield from tensor_parallel("attention", residual, setting)
        return
    latent = part.latent
    given = ((latent.query_rank or hidden) + latent.kv_rank + latent.rope_dim) / hidden
    if setting.layout.sequence_parallel:
        yield Message("attention", "all_gather", "tp", residual * given)
        yield Message("attention", "reduce_scatter", "tp", residual)
    else:
        yield Message("attention", "all_reduce", "tp", residual, backward=given)


def tensor_parallel(part: str, bytes_: float, setting: Setting) -> Iterator[Message]:
    """Around one tensor-parallel region: a sum of all ranks' parts, or a gathering before and a scattered sum after."""
    if setting.layout.sequence_parallel:
        yield Message(part, "all_gather", "tp", bytes_)
        yield Message(part, "reduce_scatter", "tp", bytes_)
    else:
        yield Message(part, "all_reduce", "tp", bytes_)


def _exchange(experts: Experts, tokens: float, setting: Setting) -> Iterator[Message]:
    """Megatron-Core's all-to-all dispatcher: a copy of a token for each of its experts, there and back."""
    rows = tokens * experts.top_k
    for collective in ("all_gather", "reduce_scatter"):
        if setting.layout.ep > 1:
            yield Message("dispatch", "all_to_all", "ep", rows)
        if setting.layout.etp > 1:
            yield Message("dispatch", collective, "etp", rows * setting.layout.etp)
