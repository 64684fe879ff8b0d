"""Scaled dot-product attention under a mask rule, lowered from O(sequence) metadata.

Legend: S sequence, B batch, N query heads, G key/value heads, D head width, F metadata fields.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from components.fusion.mask_dense import lower_dense
from components.fusion.mask_metadata import MetadataLayout
from composer.masks import Rule


class DenseMasks:
    """Boolean masks of one model by metadata tensor and rule: layers of one kind share one lowering per batch."""

    def __init__(self, layout: MetadataLayout) -> None:
        self.layout = layout
        self._masks: Any = WeakTensorKeyDictionary()

    def get(self, rule: Rule, metadata: Tensor) -> Tensor:
        """[B, 1, S, S] bool, True where attention is allowed; `metadata` is [B, F, S] int32."""
        by_rule: dict[Rule, Tensor] = self._masks.setdefault(metadata, {})
        if rule not in by_rule:
            by_rule[rule] = lower_dense(rule, self.layout, metadata)
        return by_rule[rule]


class MaskedAttention(nn.Module):
    """Attention that honours any rule of the mask algebra, through a dense boolean mask."""

    def __init__(self, rule: Rule, masks: DenseMasks, scale: float, dropout: float) -> None:
        super().__init__()
        self.rule = rule
        self.masks = masks
        self.scale = scale
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, metadata: Tensor) -> Tensor:
        """Attend.

        Args:
            query: [S, B, N, D]; key, value: [S, B, G, D], G divides N; params dtype.
            metadata: [B, F, S] int32, see `components.fusion.mask_metadata`.

        Returns:
            [S, B, N * D], dtype of `query`.
        """
        repeats = query.shape[2] // key.shape[2]
        if repeats > 1 and query.is_cuda:
            # CUDA's only kernel for grouped heads under a mask stores every score; repeated heads have a leaner one.
            key, value = key.repeat_interleave(repeats, dim=2), value.repeat_interleave(repeats, dim=2)
        attended = functional.scaled_dot_product_attention(
            *(heads.permute(1, 2, 0, 3) for heads in (query, key, value)),
            attn_mask=self.masks.get(self.rule, metadata),
            dropout_p=self.dropout if self.training else 0.0,
            scale=self.scale,
            enable_gqa=query.shape[2] != key.shape[2],
        )
        return attended.permute(2, 0, 1, 3).flatten(2)
