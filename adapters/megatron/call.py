"""The values of one forward, which the steps of a program read and write.

Legend: S sequence, L this rank's part of it, B batch, H hidden, N feature rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from adapters.megatron.shared_encoding import EncodingRanks
from components.fusion.rank_tokens import RankTokens
from composer.graph import OUT


class MissingInputError(ValueError):
    """The model was called without something that an edge needs; names it and who needs it."""


@define(eq=False)
class Call:
    """The values of one forward, by owner: inputs of the spec and outputs of nodes; None where absent."""

    values: dict[str, Any]
    input_ids: Tensor | None
    shape: tuple[int, int]
    device: torch.device
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None
    items_per_sample: dict[str, Tensor | None] = field(factory=dict)
    cu_seqlens: Tensor | None = None
    item_rows: dict[str, Tensor] = field(factory=dict)
    items: dict[str, dict[str, slice]] = field(factory=dict)
    """Node: which of its items are those of an input of the spec; absent inputs are left out."""
    rank_order: Tensor | None = None
    """[S] int64: positions as context-parallel ranks hold them, one rank after another; None: one rank has all."""
    own: Tensor | None = None
    """[L] int64: this rank's positions; None: all."""
    tokens_of_rank: RankTokens = RankTokens()
    """Which tokens this rank has between decoder layers."""
    encoding: EncodingRanks | None = None
    """Ranks that share the items; None: this one encodes all."""
    embeddings: Tensor | None = None
    levels: Tensor | None = None
    """[K, N, H]: features of this rank's tokens to be added between decoder layers; None: none."""
    metadata: Tensor | None = None
    rotation: Tensor | None = None


Step = Callable[[nn.Module, Call], None]


def output_key(node: str, port: str) -> str:
    """The owner of an output's value: the node itself for `out`."""
    return node if port == OUT else f"{node}.{port}"


@frozen(eq=False)
class Rows:
    """Rows of some items among all that a node makes."""

    rows: slice
    item_rows: Tensor
    """[items] int64."""


def rows_of(call: Call, node: str, owner: str, of: str | None) -> Rows | None:
    """Which rows of a node's value are those of one input's items; None where the call has none of them.

    Args:
        call: after the node has run.
        node: that makes the rows.
        owner: of the value.
        of: an input of the spec; None: all rows.
    """
    if call.values.get(owner) is None:
        return None
    rows = call.item_rows[node]
    if of is None:
        return Rows(slice(None), rows)
    items = call.items[node].get(of)
    if items is None:
        return None
    first, own = int(rows[: items.start].sum()), rows[items]
    return Rows(slice(first, first + int(own.sum())), own)
