"""Work of a gated delta net: projections, convolution, the rule chunk by chunk, the gated norm.

Legend: C tokens of a chunk, K and V widths of a key and a value head.
Source: components/language/delta_rule.py; in half precision on a GPU, flash-linear-attention's kernels, which multiply
the same matrices but those of keys and queries for every value head.
"""

from collections.abc import Iterator

from components.language.costs.delta_net import CHUNK, by_kernels
from components.language.delta_net_declaration import DeltaNet
from components.language.gpt_declaration import Layer
from components.language.work.operations import linear, norm, python
from components.language.work.sizes import Tokens
from composer.plans.costs import Setting, Work

KERNEL_SLOWDOWN = 4.0
"""Times slower than fused attention at the same FLOPs: products of 64 tokens, and a state that waits for the one
before. An estimate, not measured."""
BACKWARD = 2.5
TORCH_LAUNCHES, OF_A_CHUNK = 45, 9
"""Kernels that torch starts for the rule and its convolution, and those of each chunk."""


def delta_net_work(layer: Layer, hidden: int, setting: Setting) -> Iterator[Work]:
    """Everything between the layer's input norm and the residual."""
    part, tokens, tp = layer.delta_net, Tokens.of(setting), setting.layout.tp
    assert part is not None
    heads, e = part.key_heads / tp, setting.element
    channels = tokens.whole * heads * part.projected
    answers = tokens.whole * heads * part.values_per_key * part.value_dim
    yield linear("attention", tokens.whole, hidden, heads * part.projected, setting)
    yield Work("attention", "elementwise", 0, 2 * e * channels, 2)  # padding is put to zero
    yield Work("attention", "elementwise", 0, 40 * tokens.whole * heads * part.values_per_key, 12)
    yield from _rule(part, tokens.whole * heads, setting)
    yield norm("norms", answers, setting)
    yield Work("norms", "elementwise", 0, (20 + 2 * e) * answers, 3, backward=2.0)  # times the gate's activation
    yield python("attention")
    yield python("core_attention")
    yield linear("attention", tokens.whole, heads * part.values_per_key * part.value_dim, hidden, setting)


def _rule(part: DeltaNet, keys: float, setting: Setting) -> Iterator[Work]:
    """keys: key heads of all tokens of this rank."""
    e, kernels = setting.element, by_kernels(setting)
    convolved = keys * part.convolved
    again = 0.0 if kernels else 1.0
    flops = keys * rule_flops(part, per_value=kernels)
    chunks = -(-setting.seq // CHUNK)
    launches = 12 if kernels else TORCH_LAUNCHES + OF_A_CHUNK * chunks
    yield Work("core_attention", "elementwise", 0, 4 * e * convolved, 3, backward=2.0 + again)
    yield Work(
        "core_attention",
        "attention",
        flops,
        0,
        launches,
        backward=BACKWARD + again,
        model_flops=flops,
        slowdown=KERNEL_SLOWDOWN,
    )


def rule_flops(part: DeltaNet, *, per_value: bool) -> float:
    """Of one token and one key head, forward.

    Products of a chunk's keys with its keys and its queries, once for each key head or for each of its value heads;
    then for each value head, the solved system with values and keys, scores with what is written, and three products
    with the state.
    """
    scores = 2 * 2 * CHUNK * part.key_dim * (part.values_per_key if per_value else 1)
    solved = 2 * CHUNK * (part.key_dim + part.value_dim)
    read = 2 * CHUNK * part.value_dim + 6 * part.key_dim * part.value_dim
    return scores + part.values_per_key * (solved + read)


def exchanged(part: DeltaNet, tp: int) -> tuple[float, float]:
    """Channels of a token that go to the ranks of other heads, and that come back, under context parallelism."""
    heads = part.key_heads / tp
    return heads * part.recurrent, heads * part.values_per_key * part.value_dim
