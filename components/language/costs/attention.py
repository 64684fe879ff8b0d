"""What self-attention keeps, from the normed input to what is added to the residual stream.

Legend: N query heads and G key/value heads on this rank, D head width; see `components.language.attention`.
"""

from components.language.attention_declaration import Attention
from components.language.costs.core_attention import core_attention
from components.language.costs.latent_attention import latent_attention
from components.language.costs.norms import rms_norm, scale_free
from components.language.costs.tape import Stored, Tape, Tokens
from components.language.gpt_declaration import Layer
from composer.plans.costs import Setting

PART = "attention"


def attention(tape: Tape, layer: Layer, kind: str, hidden: int, setting: Setting) -> None:
    """Projection, head norms, rotation, attention, output projection, and the norm behind it if there is one."""
    part, tokens = layer.attention, Tokens.of(setting)
    assert part is not None
    if part.latent is None:
        _of_heads(tape, part, kind, hidden, setting)
    else:
        latent_attention(tape, part, part.latent, kind, hidden, setting)
    if layer.norms == "sandwich":
        projected = Stored.whole("attention output", tokens.outer * hidden)
        rms_norm(tape, projected, tokens.outer, "attention output norm", setting)


def _of_heads(tape: Tape, part: Attention, kind: str, hidden: int, setting: Setting) -> None:
    tokens, tp = Tokens.of(setting), setting.layout.tp
    heads, groups = part.heads // tp, part.kv_heads // tp
    tape.new("attention input", tokens.outer * hidden, PART, "weights")
    query, key, value = _projected(part, heads, groups, tokens.inner)
    if part.q_norm == "rms":
        rms_norm(tape, query, tokens.inner * heads, "query norm", setting, heads=True)
    if part.k_norm == "rms":
        rms_norm(tape, key, tokens.inner * groups, "key norm", setting, heads=True)
    if part.v_norm == "scale_free":
        scale_free(tape, value, tokens.inner * groups, "value norm", PART)
        value = Stored.whole("value", value.own)
    # Rotation saves cosines and sines alone, which the whole stage shares, and makes new queries and keys.
    query, key = Stored.whole("query", query.own), Stored.whole("key", key.own)
    core_attention(tape, (query, key, value), part, kind, setting)
    if part.output_gate != "none":
        # The gate's sigmoid and what it multiplies are kept for each other, their product for the output projection.
        tape.keep(Stored.whole("attended", query.own), PART)
        tape.new("gate", query.own, PART)
        tape.new("gated attended", query.own, PART, "weights")


def _projected(part: Attention, heads: int, groups: int, tokens: int) -> tuple[Stored, Stored, Stored]:
    """Queries, keys and values: views of the projection's output, but for queries that had to be copied.

    With gates, queries and gates stand side by side: whoever keeps one keeps both.
    """
    both = 1 if part.output_gate == "none" else 2
    per_group = heads // groups * both + (1 if part.values.keys else 2)
    mixed = tokens * groups * per_group * part.head_dim
    own_query, own_key = tokens * heads * part.head_dim, tokens * groups * part.head_dim
    # Heads of several groups do not lie one behind another: flattening them makes a copy.
    copied = groups > 1 and heads * both > groups
    query = Stored("flat query", both * own_query, own_query) if copied else Stored("qkv", mixed, own_query)
    key = Stored("qkv", mixed, own_key)
    return query, key, key
