"""Bytes that live within one layer for a moment, in the pass that has more of them: mostly gradients on their way.

What is kept from forward to backward is not counted here. Sizes are of the tensors that torch and Megatron-Core make;
which of them live at once was read from their code.
"""

from components.language.attention_blocks import BLOCK_QUERIES
from components.language.costs.core_attention import kernel, queries_of_block
from components.language.costs.delta_net import CHUNK, by_kernels
from components.language.costs.experts import received
from components.language.costs.tape import WIDE, Tokens
from components.language.feed_forward_declaration import Experts
from components.language.gpt_declaration import Gpt, Layer, kind_of
from composer.plans.costs import Setting


def of_attention(section: Gpt, kind: str, setting: Setting) -> int:
    """Of the attention half, beside the gradients of the residual stream."""
    stream = Tokens.of(setting).outer * section.config.hidden_size
    own = max(_attention(section.layers.whole(kind), kind_of(kind), setting), _norm(stream, setting))
    return 2 * stream * setting.element + own


def of_feed_forward(section: Gpt, kind: str, setting: Setting) -> int:
    """Of the feed-forward half, likewise: of its last norms, or of a branch when those norms have let go of theirs."""
    layer, hidden = section.layers.whole(kind), section.config.hidden_size
    stream = Tokens.of(setting).outer * hidden
    gone = _norms_behind(layer) * _kept_by_norm(stream, setting)
    parts = [_norm(stream, setting)]
    if layer.ffn.dense is not None:
        parts.append(_dense(layer.ffn.dense.intermediate_size, hidden, setting) - gone)
    if layer.ffn.experts is not None:
        parts.append(_experts(layer.ffn.experts, hidden, setting) - gone)
        if layer.ffn.experts.shared is not None:
            parts.append(_dense(layer.ffn.experts.shared.width, hidden, setting) - gone)
    return 2 * stream * setting.element + max(parts)


def _norms_behind(layer: Layer) -> int:
    """Norms that the backward pass goes through before a branch."""
    both = layer.ffn.dense is not None and layer.ffn.experts is not None and layer.ffn.branch_norms
    return (layer.norms == "sandwich") + both


def _kept_by_norm(elements: int, setting: Setting) -> int:
    """Input, and ours the normed input too, in float32."""
    return elements * (2 * WIDE if setting.implementation == "local" else setting.element)


def _norm(elements: int, setting: Setting) -> int:
    """Backward of a norm: ours has the gradient, its product with the input and their sum in float32."""
    if setting.implementation == "local":
        return 3 * elements * WIDE + elements * setting.element
    return 2 * elements * setting.element


def _attention(layer: Layer, kind: str, setting: Setting) -> int:
    """Backward of attention proper, or of the head norms."""
    part, tokens, tp = layer.attention, Tokens.of(setting), setting.layout.tp
    if part is None:
        return _delta_net(layer, setting)
    heads = part.heads // tp
    # Of queries and what is attended to, and of keys and values.
    queries, keys = (count * heads * (part.head_dim + part.value_dim) // 2 for count in (tokens.inner, tokens.all))
    used = kernel(part, kind, setting)
    grads = (2 * queries + 2 * keys) * setting.element
    if used == "unfused":
        # Scores in the forward pass, then their gradient beside the probabilities'.
        grads += 2 * tokens.inner * (part.heads // tp) * setting.seq * setting.element
    elif used == "table":
        # torch's memory-efficient kernel sums up gradients of keys and values in float32.
        grads += 2 * keys * WIDE
    elif used == "blocks":
        # Each block's gradients of all keys and values are added to those of the blocks before.
        grads += (2 * setting.element + 2 * WIDE) * keys
        if part.softcap is not None:
            # Tangents and probabilities of one block, and two gradients on their way through them.
            rows = min(queries_of_block(part, setting), BLOCK_QUERIES) * setting.micro_batch * (part.heads // tp)
            grads += 4 * rows * setting.seq * WIDE
    elif used == "capped":
        grads += 2 * tokens.inner * (part.heads // tp) * setting.seq * WIDE
    return max(grads, _norm(queries, setting))


def _delta_net(layer: Layer, setting: Setting) -> int:
    """Gradients of all channels beside those of what the rule reads; in torch also the rule's own tensors, made again.

    Those are, for every value head: values and keys of the systems, solved and not, their products with the state and
    what they leave, in float32, and squares of chunks.
    """
    part, tokens, tp = layer.delta_net, Tokens.of(setting), setting.layout.tp
    assert part is not None
    heads = part.key_heads // tp
    channels = tokens.inner * heads * part.projected * setting.element
    values = tokens.inner * heads * part.values_per_key
    if by_kernels(setting):
        states = values // CHUNK * part.key_dim * part.value_dim * setting.element
        return 2 * channels + 2 * states
    own = 2 * (part.key_dim + part.value_dim) + 4 * part.key_dim + 4 * part.value_dim + 4 * CHUNK
    return 2 * channels + values * own * WIDE


def _dense(width: int, hidden: int, setting: Setting) -> int:
    """Gradients of the gate, its activation, the up part, and of both side by side; or that of the larger weight."""
    tokens, tp = Tokens.of(setting).inner, setting.layout.tp
    return (4 * tokens * (width // tp) + tokens * hidden + 2 * hidden * (width // tp)) * setting.element


def _experts(part: Experts, hidden: int, setting: Setting) -> int:
    """Tokens before, in and behind the experts, or their gradients; weights' gradients of all experts at once where
    they are one grouped product.
    """
    layout = setting.layout
    rows, one = received(part, setting), part.intermediate_size // layout.etp
    moving = 3 * rows * hidden + 4 * rows * one
    weights = 2 * one * hidden
    if setting.implementation == "transformer_engine":
        weights *= part.num_experts // layout.ep
    return (moving + weights) * setting.element
