"""Scaled dot-product attention under a mask rule, lowered from O(sequence) metadata.

Legend: S sequence, Q queries (S, or this rank's share of it), B batch, N query heads, G key/value heads, D head width
(V that of values, where it differs), F metadata fields.
"""

from contextlib import nullcontext
from typing import Any

import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.weak import WeakTensorKeyDictionary

from components.fusion.mask_dense import lower_dense
from components.fusion.mask_metadata import MetadataLayout
from components.fusion.mask_reach import reach
from components.language.attention_blocks import BLOCK_QUERIES, TABLE_PAIRS, capped_block
from components.language.capped_attention import capped_attention
from composer.masks import Rule


class DenseMasks:
    """Boolean masks of one model by metadata tensor and rule: layers of one kind share one lowering per batch."""

    def __init__(self, layout: MetadataLayout) -> None:
        self.layout = layout
        self._masks: Any = WeakTensorKeyDictionary()

    def get(self, rule: Rule, metadata: Tensor, queries: slice) -> Tensor:
        """[B, 1, Q, S] bool, True where attention is allowed; `metadata` is [B, F, S] int32."""
        known: dict[tuple[Rule, int, int], Tensor] = self._masks.setdefault(metadata, {})
        place = (rule, queries.start, queries.stop)
        if place not in known:
            known[place] = lower_dense(rule, self.layout, metadata, queries)
        return known[place]


class MaskedAttention(nn.Module):
    """Attention that honours any rule of the mask algebra.

    Short sequences through one boolean table; long ones block by block of queries, each with the keys it can reach,
    recomputed in the backward pass: no tensor of Q·S elements is ever made. With a cap, blocks are also as small as
    their stored scores demand.
    """

    def __init__(
        self, rule: Rule, masks: DenseMasks, scale: float, dropout: float, softcap: float | None = None
    ) -> None:
        super().__init__()
        self.rule = rule
        self.masks = masks
        self.scale = scale
        self.dropout = dropout
        self.softcap = softcap

    def forward(self, query: Tensor, key: Tensor, value: Tensor, metadata: Tensor, first_query: int = 0) -> Tensor:
        """Attend.

        Args:
            query: [Q, B, N, D]; key: [S, B, G, D]; value: [S, B, G, V]; G divides N; params dtype.
            metadata: [B, F, S] int32 in the order of the keys, see `components.fusion.mask_metadata`.
            first_query: index among the keys of the first query; the others follow it.

        Returns:
            [Q, B, N * V], dtype of `query`.
        """
        heads = self._heads(query, key, value)
        queries = slice(first_query, first_query + query.shape[0])
        tracker: Any = get_cuda_rng_tracker()
        # Tensor-parallel ranks have other heads, and so must drop other pairs.
        with tracker.fork() if self.dropout and self.training else nullcontext():
            block = self._block_queries(query, key)
            if query.shape[0] * key.shape[0] * query.shape[1] <= TABLE_PAIRS and query.shape[0] <= block:
                attended = self._attend(*heads, self.masks.get(self.rule, metadata, queries))
            else:
                attended = self._by_blocks(*heads, metadata, queries, min(block, BLOCK_QUERIES))
        return attended.permute(2, 0, 1, 3).flatten(2)

    def _block_queries(self, query: Tensor, key: Tensor) -> int:
        """Most queries whose scores may be stored at once; without a cap, none are."""
        queries, batch, heads, _ = query.shape
        return queries if self.softcap is None else capped_block(batch, heads, key.shape[0])

    def _heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, Q, D], [B, G, S, D], [B, G, S, V]."""
        repeats = query.shape[2] // key.shape[2]
        if repeats > 1 and query.is_cuda and self.softcap is None:
            # CUDA's only kernel for grouped heads under a mask stores every score; repeated heads have a leaner one.
            key, value = key.repeat_interleave(repeats, dim=2), value.repeat_interleave(repeats, dim=2)
        return query.permute(1, 2, 0, 3), key.permute(1, 2, 0, 3), value.permute(1, 2, 0, 3)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if self.softcap is not None:
            return capped_attention(query, key, value, mask, scale=self.scale, cap=self.softcap, dropout=dropout)
        attended: Tensor = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=dropout,
            scale=self.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return attended

    def _by_blocks(
        self, query: Tensor, key: Tensor, value: Tensor, metadata: Tensor, queries: slice, size: int
    ) -> Tensor:
        attended = []
        for block in query.split(size, dim=2):
            rows = slice(queries.start, queries.start + block.shape[2])
            queries = slice(rows.stop, queries.stop)
            given = (block, key, value, metadata, rows)
            attended.append(checkpoint(self._block, *given, use_reentrant=False, preserve_rng_state=self.dropout > 0))
        return torch.cat(attended, dim=2)

    def _block(self, query: Tensor, key: Tensor, value: Tensor, metadata: Tensor, rows: slice) -> Tensor:
        keys = reach(self.rule, self.masks.layout, metadata, rows)
        mask = lower_dense(self.rule, self.masks.layout, metadata, rows, keys)
        return self._attend(query, key[:, :, keys], value[:, :, keys], mask)
