"""Lower a mask rule to a table of query and key pairs: the form for CPU, for checks, and for short sequences.

Legend: B batch, S sequence, F fields, Q query rows, K keys (S each, unless fewer are wanted).
"""

import torch
from torch import Tensor

from components.fusion.mask_metadata import Field, MetadataLayout
from composer.masks import And, Bidirectional, Causal, Chunk, Not, Or, Prefix, Rule, SameDocument, SameRun, Window


def lower_dense(
    rule: Rule,
    layout: MetadataLayout,
    metadata: Tensor,
    query_rows: slice | None = None,
    keys: slice | None = None,
) -> Tensor:
    """Which key each query may attend to.

    Whatever the rule says, a key in another document or at padding is forbidden. A query left without any key
    (a leading padding row, mostly) attends to itself alone: its softmax stays finite in every backend, and no
    other row can see it, unless it is real and the rule says so.

    Args:
        rule: the rule of one layer kind.
        layout: made for a set of rules that holds this one.
        metadata: [B, F, S] int32 from `layout.build`, tokens in any order.
        query_rows, keys: those wanted, all by default. Keys must hold all that the rule allows the queries, and the
            queries themselves (see `components.fusion.mask_reach`).

    Returns:
        [B, 1, Q, K] bool, True where attention is allowed (megatron-core masks are True where it is forbidden).
    """
    query_rows = slice(None) if query_rows is None else query_rows
    keys = slice(None) if keys is None else keys
    query, key = metadata[:, :, query_rows], metadata[:, :, keys]
    allowed = _lower(rule, layout, query, key)
    allowed = allowed & _same(query, key, Field.DOCUMENT) & (key[:, Field.VALID, None, :] == 1)
    index = torch.arange(metadata.shape[-1], device=metadata.device)
    itself = index[query_rows, None] == index[None, keys]
    return torch.where(allowed.any(-1, keepdim=True), allowed, itself)[:, None]


def _lower(rule: Rule, layout: MetadataLayout, query: Tensor, key: Tensor) -> Tensor:
    """[B, Q, K] bool of the rule alone, documents and padding left out of account."""
    match rule:
        case And(left=left, right=right):
            return _lower(left, layout, query, key) & _lower(right, layout, query, key)
        case Or(left=left, right=right):
            return _lower(left, layout, query, key) | _lower(right, layout, query, key)
        case Not(rule=inner):
            return ~_lower(inner, layout, query, key)
        case Bidirectional():
            return torch.ones_like(_same(query, key, Field.DOCUMENT))
        case SameDocument():
            return _same(query, key, Field.DOCUMENT)
        case SameRun():
            return _same_group(query, key, layout.run_field(rule))
        case Prefix():
            return _same_group(query, key, layout.prefix_field(rule))
    query_position, key_position = query[:, Field.POSITION, :, None], key[:, Field.POSITION, None, :]
    match rule:
        case Causal():
            return key_position <= query_position
        case Window(size=size):
            return key_position > query_position - size
        case Chunk(size=size):
            return query_position.div(size, rounding_mode="floor") == key_position.div(size, rounding_mode="floor")
    raise TypeError(f"no dense lowering for mask rule {rule!r}")


def _same(query: Tensor, key: Tensor, field: int) -> Tensor:
    return query[:, field, :, None] == key[:, field, None, :]


def _same_group(query: Tensor, key: Tensor, field: int) -> Tensor:
    return _same(query, key, field) & (query[:, field, :, None] >= 0)
