"""Causal attention through Transformer Engine, and our dense attention wherever that would not be the rule.

Legend: S sequence, B batch, N query heads, G key/value heads, D head width, F metadata fields.
"""

import copy
from typing import Any

from attrs import frozen
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.enums import AttnBackend, AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from adapters.transformer_engine.rules import KernelMask, NoKernel, kernel_mask
from components.context import CoreAttention
from components.fusion.mask_metadata import Field


class BatchOrder:
    """Whether a batch's rows are one document each with padding only behind it; asked once per batch.

    Then an index mask is the rule's mask at every real token: a padded key lies behind all real queries.
    """

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()

    def is_plain(self, metadata: Tensor) -> bool:
        """One transfer of a bit to the host per batch. `metadata` is [B, F, S] int32."""
        if metadata not in self._known:
            valid = metadata[:, Field.VALID]
            one_document = (metadata[:, Field.DOCUMENT] == 0).all()
            self._known[metadata] = bool(one_document & (valid[:, 1:] <= valid[:, :-1]).all())
        known: bool = self._known[metadata]
        return known


class CausalAttention(nn.Module):
    """One layer kind whose rule Transformer Engine has a kernel for.

    Batches with padding in front of a token, or with several documents in a row, go through `dense`: the kernel's mask
    counts indices and would let tokens see what the rule forbids.
    """

    def __init__(self, kernel: nn.Module, dense: nn.Module, order: BatchOrder) -> None:
        super().__init__()
        self.kernel, self.dense, self.order = kernel, dense, order

    def forward(self, query: Tensor, key: Tensor, value: Tensor, metadata: Tensor) -> Tensor:
        """Attend.

        Args:
            query: [S, B, N, D]; key, value: [S, B, G, D], G divides N; params dtype.
            metadata: [B, F, S] int32, see `components.fusion.mask_metadata`.

        Returns:
            [S, B, N * D], dtype of `query`. Rows of padding are finite and mean nothing.
        """
        attended: Tensor
        if self.order.is_plain(metadata):
            heads = (query.contiguous(), key.contiguous(), value.contiguous())
            attended = self.kernel(*heads, attention_mask=None, attn_mask_type=AttnMaskType.causal)
        else:
            attended = self.dense(query, key, value, metadata)
        return attended


@frozen(eq=False)
class FusedAttention:
    """Chooses the core attention of each layer kind of one model; see `components.context.CoreAttentionFactory`."""

    config: TransformerConfig
    groups: ProcessGroupCollection
    order: BatchOrder

    @classmethod
    def for_model(cls, config: TransformerConfig, groups: ProcessGroupCollection) -> "FusedAttention":
        return cls(config, groups, BatchOrder())

    def __call__(self, wanted: CoreAttention, dense: nn.Module) -> nn.Module:
        """Transformer Engine where it honours the rule and caps no scores, else `dense`."""
        # Its fused kernels take narrower values on few GPUs and of few widths; its unfused form stores every score.
        plain = wanted.value_dim == wanted.head_dim and wanted.softcap is None
        if self.config.attention_backend == AttnBackend.local or not plain:
            return dense
        try:
            mask = kernel_mask(wanted.rule)
        except NoKernel:
            return dense
        return CausalAttention(self._kernel(wanted, mask), dense, self.order)

    def _kernel(self, wanted: CoreAttention, mask: KernelMask) -> nn.Module:
        from megatron.core.extensions.transformer_engine import TEDotProductAttention

        # Megatron-Core's wrapper reads sizes from a configuration, which has those of one layer kind only.
        sized = copy.copy(self.config)
        sized.num_attention_heads, sized.num_query_groups = wanted.heads, wanted.kv_heads
        sized.kv_channels, sized.window_size = wanted.head_dim, mask.window
        return TEDotProductAttention(
            config=sized,
            layer_number=1,
            attn_mask_type=AttnMaskType.causal,
            attention_type="self",
            softmax_scale=wanted.scale,
            pg_collection=self.groups,
        )
