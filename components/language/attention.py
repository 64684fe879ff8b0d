"""Self-attention of one layer kind, made of the parts a spec names.

Legend: S sequence (this rank's part under sequence and context parallelism at input and output), B batch, H hidden, N
query heads and G key/value heads on this tensor-parallel rank, D head width, F metadata fields.
"""

from collections.abc import Callable
from typing import Any

import torch
from megatron.core import tensor_parallel
from megatron.core.models.backends import get_backend
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from components.build_error import BuildError
from components.language.attention_declaration import Attention
from components.language.norms import ScaleFreeRMSNorm, rms_norm
from components.language.rotation import rotate
from components.language.rotation_columns import Columns
from components.language.temperature import tempered


class AttentionHalf(MegatronModule):
    """What every attention half of a layer has behind its heads: attention proper, an output projection, a norm."""

    def __init__(
        self,
        config: TransformerConfig,
        part: Attention,
        sandwich: bool,
        core: nn.Module,
        groups: ProcessGroupCollection,
    ) -> None:
        super().__init__(config=config)
        self.part = part
        self.shared = {"config": config, "is_expert": False, "tp_group": groups.tp, "skip_bias_add": False}
        self.linear_proj = get_backend(config.transformer_impl).row_parallel_linear()(
            part.heads * part.value_dim,
            config.hidden_size,
            init_method=config.output_layer_init_method,
            bias=False,
            input_is_parallel=True,
            **self.shared,
        )
        self.output_norm = rms_norm(config, config.hidden_size) if sandwich else nn.Identity()
        self.core_attention = core
        self.context_group = groups.cp
        self.recompute_core = config.recompute_granularity == "selective" and "core_attn" in (
            config.recompute_modules or ()
        )

    def _output(self, attend: Callable[..., Tensor], *given: Tensor, gate: Tensor | None = None) -> tuple[Tensor, None]:
        """From what `attend` makes of tensors, [S, B, N * D], to [S, B, H]; it may run again in the backward pass.

        A gate [S, B, N, D] lets its sigmoid of the heads' outputs through.
        """
        if self.recompute_core and self.training:
            attended = tensor_parallel.checkpoint(attend, False, *given)
        else:
            attended = attend(*given)
        output, _ = self.linear_proj(attended if gate is None else attended * gate.flatten(2).sigmoid())
        return self.output_norm(output), None


class SelfAttention(AttentionHalf):
    """Queries, keys and values in one projection, norms per head, rotation, attention, output projection.

    The rows of `linear_qkv` are ordered by key/value group (the group's query heads, its key, its value), so that a
    tensor-parallel split falls between groups. With `values: keys` there is no value: the un-normalised key is it. With
    an output gate each query head is followed by its gate.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        part: Attention,
        sandwich: bool,
        columns: Columns | None,
        core: nn.Module,
        pg_collection: ProcessGroupCollection,
        name: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__(config, part, sandwich, core, pg_collection)
        self.columns, self.layer_number = columns, layer_number
        tp = pg_collection.tp.size()
        if part.kv_heads % tp:
            raise BuildError(f"{part.kv_heads} key/value heads cannot be split over {tp} tensor-parallel ranks")
        self.groups = part.kv_heads // tp
        self.queries = part.heads // part.kv_heads
        self.gated = part.output_gate == "sigmoid"
        per_group = self.queries * (2 if self.gated else 1) + (1 if part.values.keys else 2)
        self.linear_qkv = get_backend(config.transformer_impl).column_parallel_linear()(
            config.hidden_size,
            part.kv_heads * per_group * part.head_dim,
            init_method=config.init_method,
            bias=part.bias,
            gather_output=False,
            **self.shared,
        )
        self.q_norm = self._head_norm(part.q_norm, pg_collection)
        self.k_norm = self._head_norm(part.k_norm, pg_collection)
        self.v_norm = self._head_norm(part.v_norm, pg_collection)

    def _head_norm(self, kind: str, groups: ProcessGroupCollection) -> nn.Module:
        if kind == "rms":
            return rms_norm(self.config, self.part.head_dim, heads_of=groups.tp)
        return ScaleFreeRMSNorm(self.config.layernorm_epsilon) if kind == "scale_free" else nn.Identity()

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, rotary_pos_emb: Tensor, **_: Any
    ) -> tuple[Tensor, None]:
        """Attend within each row of the batch.

        Args:
            hidden_states: [S, B, H], normed.
            attention_mask: [B, F, S] int32 mask metadata (the argument's name is Megatron-Core's) of whole sequences,
                in rank order under context parallelism.
            rotary_pos_emb: [2, S, B, 1, R] cosines and sines of all layer kinds.

        Returns:
            [S, B, H] and no bias.
        """
        query, gate, key, value = self._heads(hidden_states)
        query = rotate(self.q_norm(query), rotary_pos_emb, self.columns)
        key, value = rotate(self.k_norm(key), rotary_pos_emb, self.columns), self.v_norm(value)
        if self.part.temperature is not None:
            first = self.context_group.rank() * query.shape[0]
            query = tempered(query, attention_mask, first, self.part.temperature)
        return self._output(self._attend, query, key, value, attention_mask, gate=gate)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, metadata: Tensor) -> Tensor:
        """[S, B, N * D]; under context parallelism S is this rank's share, and keys are gathered in rank order."""
        if self.context_group.size() == 1:
            attended: Tensor = self.core_attention(query, key, value, metadata)
            return attended
        # One message for both; their gradients come back summed over ranks.
        both = torch.cat([key, value], dim=2)
        both = tensor_parallel.gather_from_sequence_parallel_region(both, group=self.context_group)
        key, value = both.split([key.shape[2], value.shape[2]], dim=2)
        return self.core_attention(query, key, value, metadata, self.context_group.rank() * query.shape[0])

    def _heads(self, hidden_states: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Queries and their gates [S, B, N, D], keys and values [S, B, G, D] (S is the whole sequence from here on)."""
        mixed, _ = self.linear_qkv(hidden_states)
        mixed = mixed.unflatten(-1, (self.groups, -1, self.part.head_dim))
        queries = self.queries * (2 if self.gated else 1)
        if self.part.values.keys:
            query, key = torch.split(mixed, [queries, 1], dim=3)
            value = key
        else:
            query, key, value = torch.split(mixed, [queries, 1, 1], dim=3)
        query, gate = query.flatten(2, 3), None
        if self.gated:
            query, gate = query.unflatten(2, (-1, 2)).unbind(3)
        return query, gate, key.squeeze(3), value.squeeze(3)
