"""What scaled dot-product attention keeps, by the kernel that runs it.

Legend: Q queries of this rank, S keys, B batch, N query heads and G key/value heads on this rank, D head width.
"""

from typing import Literal

from components.language.attention_blocks import TABLE_PAIRS
from components.language.costs.tape import WIDE, Stored, Tape, Tokens
from components.language.gpt_declaration import Attention
from composer.plans.costs import Setting

PART = "attention"
FUSED_WIDTH = 256
"""Widest head that a fused kernel of Transformer Engine takes in training; wider ones go through its unfused form."""

Kernel = Literal["table", "blocks", "fused", "unfused"]


def kernel(part: Attention, kind: str, setting: Setting) -> Kernel:
    """table: ours with a dense mask; blocks: ours block by block; fused, unfused: Transformer Engine's."""
    theirs = setting.implementation == "transformer_engine" and kind in setting.fused and setting.layout.cp == 1
    if theirs and part.value_dim == part.head_dim:
        return "fused" if part.head_dim <= FUSED_WIDTH else "unfused"
    tokens = Tokens.of(setting)
    return "table" if tokens.inner * setting.seq <= TABLE_PAIRS else "blocks"


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


def _repeats(part: Attention, used: Kernel, setting: Setting) -> bool:
    """Whether key/value heads are repeated before the kernel; fused kernels and the CPU's share them."""
    if part.heads == part.kv_heads or used == "fused":
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
