"""What embed, scatter, mask and position edges say, found by comparing what the tiny model's decoder was given.

Legend: S sequence, H hidden.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from adapters.init.draft import Notes, Said
from adapters.init.probe import Placed, Probe
from adapters.parity.taken_rows import SAME
from composer.masks import Layout, allowed, parse


def embedding_scale(placed: Placed, token: int, notes: Notes) -> Any:
    """What embed edges multiply by: nothing if it is one."""
    text = placed.ids != token
    given, table = placed.embeddings[text].double(), placed.table[text].double()
    scale = float((given * table).sum() / (table * table).sum())
    if not _same(given, table * scale):
        notes.add(
            "edges, kind embed", "text embeddings are no multiple of rows of the table: something is added to them"
        )
        return None
    width = placed.embeddings.shape[-1]
    if abs(scale - 1) < SAME:
        return None
    if abs(scale / width**0.5 - 1) < SAME:
        return Said("sqrt_hidden_size", "measured: embeddings are the table's rows times the root of hidden_size")
    notes.add(
        "edges, kind embed, scale",
        f"embeddings are the table's rows times {scale:.6g} in a tiny model: say of what it is made",
    )
    return Said(round(scale, 6), "measured on a tiny model")


def placement_mode(placed: Placed, probe: Probe, token: int, notes: Notes) -> Any:
    """The mode of a scatter edge; None is its default, replace."""
    rows = placed.embeddings[placed.ids == token]
    if rows.shape == probe.features.shape and _same(rows, probe.features):
        return None
    scaled = rows.shape == probe.features.shape and float((rows * probe.features).sum() / (probe.features**2).sum())
    if scaled and _same(rows, probe.features * scaled):
        notes.add(
            "edges, kind scatter", f"placeholders hold the projector's rows times {scaled:.6g}: no edge says that"
        )
    else:
        notes.add("edges, kind scatter", "what placeholders hold is not the projector's rows in order")
    return None


def mask_rule(kind: str, placed: Placed, sizes: dict[str, tuple[int, str]], token: int, notes: Notes) -> Any:
    """The first known rule that makes the same mask.

    Args:
        kind: of the layers.
        placed: what was measured.
        sizes: words that stand for a number in rules (window, chunk), with the number and its reference.
        token: the placeholder's id.
        notes: gets a line if no rule fits.
    """
    mask = placed.masks.get(kind)
    if mask is None:
        notes.add(
            f"edges, kind mask, rules.{kind}",
            "layers of this kind were given no mask to compare with: causal is assumed",
        )
        return Said("causal", "assumed")
    layout = Layout(tokens=["image" if each == token else None for each in placed.ids[0].tolist()])
    for text, written in _rules(sizes):
        rule, length = parse(text), len(layout.tokens)
        made = torch.tensor([[allowed(rule, query, key, layout) for key in range(length)] for query in range(length)])
        if torch.equal(made, mask):
            return Said(written, "measured: the same mask, cell by cell")
    notes.add(
        f"edges, kind mask, rules.{kind}",
        "its mask is of no rule that was tried: compare it with the terms of the reference",
    )
    return Said("causal", "assumed")


def _rules(sizes: dict[str, tuple[int, str]]) -> Iterator[tuple[str, str]]:
    """Rules with numbers, and the same with references, simplest first."""
    whole = ["causal", "causal | same_run(image)", "bidirectional", "prefix(image) | causal"]
    yield from ((rule, rule) for rule in whole)
    for word, (size, reference) in sizes.items():
        for rule in ("causal & {0}", "(causal | same_run(image)) & {0}", "causal & {0} | same_run(image)"):
            yield rule.format(f"{word}({size})"), rule.format(f"{word}({reference})")


def positions(placed: Placed, notes: Notes) -> dict[str, Any]:
    """Keys of the position edge."""
    made = placed.positions
    if made is None:
        notes.add(
            "edges, kind position", "the decoder has no rotary_emb to read positions from: 0, 1, 2, ... is assumed"
        )
        return {}
    length = placed.ids.shape[1]
    if made.ndim == 2 and torch.equal(made[0] - made[0, 0], torch.arange(length)):
        first = int(made[0, 0])
        return {"offset": Said(first, "measured: the position of the first token")} if first else {}
    shape = "x".join(map(str, made.shape))
    notes.add(
        "edges, kind position, rule",
        f"positions [{shape}] are not 0, 1, 2, ...: see the position rules of the reference",
    )
    return {}


def _same(ours: Tensor, wanted: Tensor) -> bool:
    return bool((ours - wanted).norm() <= SAME * wanted.norm())
