"""What scaled dot-product attention keeps, by the kernel that runs it.

Legend: Q queries of this rank, S keys, B batch, N query heads and G key/value heads on this rank, D head width.
"""

from typing import Literal

from components.language.attention_blocks import TABLE_PAIRS, capped_block
from components.language.attention_declaration import Attention
from components.language.costs.tape import WIDE, Stored, Tape, Tokens
from composer.plans.costs import Setting

PART = "attention"
FUSED_WIDTH = 256
"""Widest head that a fused kernel of Transformer Engine takes in training; wider ones go through its unfused form."""

Kernel = Literal["table", "capped", "blocks", "fused", "unfused"]


def kernel(part: Attention, kind: str, setting: Setting) -> Kernel:
    """table, capped: ours with a dense mask; blocks: ours block by block; fused, unfused: Transformer Engine's."""
    fused = setting.implementation == "transformer_engine" and kind in setting.fused and setting.layout.cp == 1
    if fused and part.softcap is None and part.value_dim == part.head_dim:
        return "fused" if part.head_dim <= FUSED_WIDTH else "unfused"
    if Tokens.of(setting).inner * setting.seq > TABLE_PAIRS:
        return "blocks"
    if part.softcap is None:
        return "table"
    return "capped" if setting.seq // setting.layout.cp <= queries_of_block(part, setting) else "blocks"


def queries_of_block(part: Attention, setting: Setting) -> int:
    """Most queries whose capped scores are stored at once."""
    return capped_block(setting.micro_batch, part.heads // setting.layout.tp, setting.seq)


def recomputes(setting: Setting) -> bool:
    """Whether attention proper is computed again in the backward pass."""
    layout = setting.layout
    return layout.recompute == "selective" and "core_attn" in (layout.recompute_modules or ("core_attn",))


def core_attention(
    tape: Tape, heads: tuple[Stored, Stored, Stored], part: Attention, kind: str, setting: Setting
) -> None:
    """From queries [Q, B, N, D], keys and values [Q, B, G, D] to [Q, B, N * D], which the output projection saves."""
    query, key, value = heads
    keep_attended(tape, query, part)
    if recomputes(setting):
        for each in heads:
            tape.keep(each, PART)
        return
    used = kernel(part, kind, setting)
    if used == "capped":
        _capped(tape, heads, part, setting)
        return
    tape.keep(query, PART)
    _keys_and_values(tape, key, value, part, setting, repeated=_repeats(part, used, setting))
    keep_scores(tape, query, part, used, setting)


def keep_attended(tape: Tape, query: Stored, part: Attention) -> Stored:
    """What the output projection saves: as many rows as queries, of the width of values."""
    attended = Stored.whole("attended", query.own // part.head_dim * part.value_dim)
    tape.keep(attended, PART, "weights")
    return attended


def keep_scores(tape: Tape, query: Stored, part: Attention, used: Kernel, setting: Setting) -> None:
    """What a kernel saves beside queries, keys and values.

    On a CPU a table with values narrower than keys goes through torch's unfused form, which saves more than is said
    here: that is no machine to plan for.
    """
    attended = keep_attended(tape, query, part)
    rows = query.own // part.head_dim
    if used == "unfused":
        tape.new("probabilities", rows * setting.seq, PART)
    elif used == "blocks":
        return  # the rest is computed again, block by block
    else:
        tape.keep(attended, PART)
        tape.new("log-sum-exp", rows, PART, element=WIDE)
    if used == "table":
        # The boolean table, as numbers that are added to the scores; every layer makes its own.
        tape.new("mask as numbers", Tokens.of(setting).inner * setting.seq, PART)


def _capped(tape: Tape, heads: tuple[Stored, Stored, Stored], part: Attention, setting: Setting) -> None:
    """Scores behind their hyperbolic tangent, the mask that fills them, and probabilities."""
    query, key, value = heads
    if part.heads > part.kv_heads:
        query = Stored.whole("queries by group", query.own)
    tape.keep(query, PART)
    _keys_and_values(tape, key, value, part, setting, repeated=False)
    scores = query.own // part.head_dim * setting.seq
    tape.new("tangents of scores", scores, PART, element=WIDE)
    tape.new("forbidden pairs", Tokens.of(setting).inner * setting.seq, PART, element=1)
    tape.new("softmax of scores", scores, PART, element=WIDE)
    if tape.element != WIDE:
        tape.new("probabilities", scores, PART)


def _repeats(part: Attention, used: Kernel, setting: Setting) -> bool:
    """Whether key/value heads are repeated before the kernel; fused kernels and the CPU's share them."""
    if part.heads == part.kv_heads or used == "fused" or part.softcap is not None:
        return False
    return used == "unfused" or setting.device == "cuda"


def _keys_and_values(
    tape: Tape, key: Stored, value: Stored, part: Attention, setting: Setting, *, repeated: bool
) -> None:
    cp = setting.layout.cp
    times = (part.heads // part.kv_heads if repeated else 1) * cp
    if cp > 1 and not repeated:
        # Gathered in one message: both are views of what has arrived.
        tape.new("gathered keys and values", (key.own + value.own) * cp, PART)
    elif times > 1:
        tape.new("keys of all queries", key.own * times, PART)
        tape.new("values of all queries", value.own * times, PART)
    else:
        tape.keep(key, PART)
        tape.keep(value, PART)
