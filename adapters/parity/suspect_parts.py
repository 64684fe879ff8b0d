"""What is wrong within a layer or behind the last one, by the modules between which the models part.

Legend: B batch, S sequence, N query heads, D head width, V vocabulary.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adapters.parity.sides import Heads, Side
from adapters.parity.suspects import Suspect, alike, factor
from adapters.parity.trace import Parting

if TYPE_CHECKING:
    from composer import Graph

LAYER = re.compile(r"\.decoder\.layers\.(\d+)\.(.*)")
PARTS = (
    ("input", "mlp.input_norm", "norms", "what attention gives is normed, or added to the residual, otherwise."),
    (
        "input",
        "mlp.dense.linear_fc1",
        "norms",
        "the dense branch reads something else: compare norms and ffn.branch_norms.",
    ),
    ("input", "mlp.shared_expert.linear_fc1", "ffn.experts.shared", "the shared expert reads something else."),
    ("input", "mlp.shared_expert.linear_fc2", "activation", ""),
    ("input", "mlp.dense.linear_fc2", "activation", ""),
    (
        "input",
        "mlp.experts_norm",
        "ffn.experts.router",
        "experts give something else: compare how they are chosen and weighed.",
    ),
    ("input", "mlp.dense_norm", "activation", ""),
    ("input", "mlp.output_norm", "ffn.join", "the branches meet otherwise."),
    ("input", "self_attention.output_norm", "norms", "what attention gives is normed otherwise."),
    ("input", "input_layernorm", "end", ""),
)


def wrong_part_of_layer(graph: "Graph", parting: Parting, ours: Side, oracle: Side, valid: Tensor) -> Iterator[Suspect]:
    """Keys of the decoder's section that say what lies where the models part."""
    decoder = graph.decoder()
    sizes = f"nodes.{decoder.name}.config"
    order = decoder.config.layers.order
    found = LAYER.search(parting.at)
    if parting.at.endswith(".final_layernorm") and parting.side == "input":
        yield from _end(graph, len(order) - 1)
        return
    if parting.side == "output" and parting.at.endswith(("norm", "layernorm")):
        yield Suspect(
            f"{sizes}.norm_eps", f"{parting.at} makes other numbers of the same: compare norm_eps and norm_weight."
        )
        return
    if found is None:
        return
    index, module = int(found[1]), found[2]
    kind = f"nodes.{decoder.name}.layers.kinds.{order[index]}"
    if module == "self_attention.linear_proj" and parting.side == "input":
        if decoder.config.layers.kinds[order[index]].delta_net is not None:
            yield Suspect(f"{kind}.delta_net", "the net gives something else: compare its heads, and norm_eps.")
            return
        heads = [side.heads[order[index]].at(valid) for side in (ours, oracle) if order[index] in side.heads]
        yield from _attention(kind, *(heads if len(heads) == 2 else (None, None)))
        return
    for side, name, key, message in PARTS:
        if (side, name) == (parting.side, module):
            if key == "activation":
                said = decoder.config.config.activation
                yield Suspect(
                    f"{sizes}.activation", f"{said} is not what transformers computes between the two projections."
                )
            elif key == "end":
                yield from _end(graph, index - 1)
            else:
                yield Suspect(f"{kind}.{key}", message)


def _end(graph: "Graph", index: int) -> Iterator[Suspect]:
    """What a layer's last steps may be: its branches, norms behind them, its scale."""
    decoder = graph.decoder()
    layers = decoder.config.layers
    kind = f"nodes.{decoder.name}.layers.kinds.{layers.order[index]}"
    layer = layers.whole(layers.names[index])
    if layer.ffn.experts is not None:
        message = f"layer {index} ends otherwise: compare how experts are chosen and weighed"
        where = f"nodes.{decoder.name}.layers.ffns.{layers.ffn_order[index]}" if layers.ffn_order else f"{kind}.ffn"
        yield Suspect(f"{where}.experts.router", f"{message}, and with two branches how they meet.")
    else:
        message = (
            f"layer {index} ends otherwise: compare norms ({layer.norms}) and output_scale ({layer.output_scale})."
        )
        yield Suspect(f"{kind}.output_scale", message)


def _attention(path: str, mine: Heads | None, theirs: Heads | None) -> Iterator[Suspect]:
    """Rotation, norms of heads, values, scale or cap of the first layer of a kind."""
    if mine is None or theirs is None:
        yield Suspect(
            path, "attention of these layers gives something else: compare rope, attention.scale and softcap."
        )
        return
    if not alike(mine.products, theirs.products):
        yield from _products(path, mine, theirs)
    if not alike(mine.value, theirs.value):
        yield Suspect(
            f"{path}.attention.v_norm", f"values differ{_times(mine.value, theirs.value)}: compare v_norm and values."
        )
    if abs(mine.scale - theirs.scale) > 1e-6 * abs(theirs.scale):
        message = f"transformers multiplies query·key by {theirs.scale:.6g}, the spec by {mine.scale:.6g}."
        yield Suspect(f"{path}.attention.scale", message)
    if (mine.softcap or 0) != (theirs.softcap or 0):
        message = f"transformers caps scores at {theirs.softcap or 'nothing'}, the spec at {mine.softcap or 'nothing'}."
        yield Suspect(f"{path}.attention.softcap", message)


def _products(path: str, mine: Heads, theirs: Heads) -> Iterator[Suspect]:
    """Queries and keys of other lengths are normed otherwise; of the same lengths, rotated otherwise."""
    for key, one, other in (("q_norm", mine.query, theirs.query), ("k_norm", mine.key, theirs.key)):
        if not alike(one.norm(dim=-1), other.norm(dim=-1)):
            words = "queries" if key == "q_norm" else "keys"
            yield Suspect(f"{path}.attention.{key}", f"{words} have other lengths{_times(one, other)}: compare {key}.")
            return
    pairs = _turned(mine.query, theirs.query)
    message = (
        f"queries and keys have the right lengths and point elsewhere: {pairs} columns of a head rotate otherwise."
    )
    yield Suspect(f"{path}.rope", message)


def _turned(ours: Tensor, oracle: Tensor) -> str:
    """Columns of a head that differ, in words."""
    wrong = [column for column in range(ours.shape[-1]) if not alike(ours[..., column], oracle[..., column])]
    return f"{len(wrong)} of {ours.shape[-1]}"


def _times(ours: Tensor, oracle: Tensor) -> str:
    by = factor(ours, oracle)
    return f" (transformers' are ours times {by:.6g})" if by else ""


def wrong_head(graph: "Graph", ours: Tensor, oracle: Tensor, model: Any) -> Iterator[Suspect]:
    """Behind the final norm: a factor, a cap, or another table.

    Args:
        graph: of the model.
        ours, oracle: [T, V] logits of real tokens.
        model: transformers'.
    """
    decoder = graph.decoder()
    cap = decoder.config.config.logit_softcap
    text: Any = model.config.get_text_config()
    right = getattr(text, "final_logit_softcapping", None)
    bare = ours if cap is None else torch.atanh((ours.double() / cap).clamp(-1 + 1e-12, 1 - 1e-12)) * cap
    capped = bare if right is None else torch.tanh(bare.double() / right) * right
    path = f"nodes.{decoder.name}.config.logit_softcap"
    if right != cap and torch.allclose(capped.double(), oracle.double(), rtol=1e-3, atol=1e-4):
        yield Suspect(path, f"transformers caps logits at {right}, the spec at {cap}.")
        return
    by = factor(ours, oracle)
    said = f"transformers' are ours times {by:.6g}" if by else "no factor turns ours into transformers'"
    yield Suspect(
        path, f"hidden states agree, logits do not ({said}): compare the cap and whether the table is shared."
    )
