"""What a gated delta net keeps, from the normed input to what is added to the residual stream.

Legend: G key heads on this rank, R value heads of each, K and V their widths; see `components.language.delta_net`.
"""

from components.language.costs.core_attention import recomputes
from components.language.costs.norms import rms_norm, scale_free
from components.language.costs.tape import WIDE, Stored, Tape, Tokens
from components.language.delta_net_declaration import DeltaNet
from components.language.gpt_declaration import Layer
from composer.plans.costs import Setting

PART = "attention"
CHUNK = 64
"""Tokens of a chunk, in torch and in the kernels."""


def by_kernels(setting: Setting) -> bool:
    """Whether flash-linear-attention computes the rule: half precision on a GPU. That it is installed is assumed."""
    return setting.device == "cuda" and setting.element < WIDE


def delta_net(tape: Tape, layer: Layer, hidden: int, setting: Setting) -> None:
    """Projection, convolution, rule, gated norm, output projection, and the norm behind it if there is one."""
    part, tokens, tp = layer.delta_net, Tokens.of(setting), setting.layout.tp
    assert part is not None
    heads = part.key_heads // tp
    tape.new("attention input", tokens.outer * hidden, PART, "weights")
    tape.new("real tokens", tokens.inner, PART)
    channels = Stored.whole("delta channels", tokens.inner * heads * part.projected)
    if setting.layout.cp == 1:
        tape.keep(channels, PART)
        rows = channels
    else:
        rows = tape.new("delta channels of own heads", tokens.inner * heads * part.recurrent, PART)
    if not recomputes(setting):
        _rule(tape, part, rows, heads, tokens.inner, setting)
    _gated_norm(tape, part, channels, tokens.inner * heads, setting)
    tape.new("gated answer", tokens.inner * heads * part.values_per_key * part.value_dim, PART, "weights")
    if layer.norms == "sandwich":
        projected = Stored.whole("attention output", tokens.outer * hidden)
        rms_norm(tape, projected, tokens.outer, "attention output norm", setting)


def _rule(tape: Tape, part: DeltaNet, rows: Stored, heads: int, tokens: int, setting: Setting) -> None:
    """heads: key heads of this rank. In torch the rule is computed again: what it reads is all that is kept."""
    keys, values = tokens * heads, tokens * heads * part.values_per_key
    tape.new("speed before softplus", values, PART, element=WIDE)
    tape.new("speed", values, PART, element=WIDE)
    tape.new("decay", values, PART, element=WIDE)
    tape.new("strength", values, PART)
    tape.new("how fast heads forget", 2 * heads * part.values_per_key, PART, element=WIDE)
    tape.keep(rows, PART)
    if not by_kernels(setting):
        return
    tape.new("convolution input", keys * part.convolved, PART)
    tape.new("unit queries and keys", 2 * keys * part.key_dim, PART)
    tape.new("lengths of queries and keys", 2 * keys, PART, element=WIDE)
    tape.new("delta values", values * part.value_dim, PART)
    tape.new("decay in chunks", values, PART, element=WIDE)
    tape.new("solved systems", values * CHUNK, PART)


def _gated_norm(tape: Tape, part: DeltaNet, channels: Stored, keys: int, setting: Setting) -> None:
    """As an RMS norm of ours, whose output and whose gate are kept in float32 for each other."""
    rows = keys * part.values_per_key
    elements = rows * part.value_dim
    scale_free(tape, Stored.whole("delta answer", elements), rows, "delta norm", "norms")
    tape.new("delta norm normed", elements, "norms", "weights", WIDE)
    if tape.element != WIDE:
        tape.new("delta norm weight in float32", part.value_dim, "norms", element=WIDE)
    tape.new("delta norm output", elements, "norms", element=WIDE)
    tape.new("delta gate activated", elements, "norms", element=WIDE)
    tape.keep_wide(Stored(channels.name, channels.elements, elements), PART, "the gate")
