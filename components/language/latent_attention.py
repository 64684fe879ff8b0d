"""Self-attention whose keys and values are made of one narrow vector per token.

Legend: S sequence, s this rank's part of it under sequence parallelism, B batch, H hidden, N heads on this
tensor-parallel rank, D width of a query and key head of which the last R columns rotate, V width of a value head, L
width of the latent, F metadata fields.
"""

import copy
from typing import Any

import torch
from megatron.core.models.backends import get_backend
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.mappings import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from components.build_error import BuildError
from components.language.attention import AttentionHalf
from components.language.attention_declaration import Attention
from components.language.norms import rms_norm
from components.language.replicated_linear import ReplicatedLinear
from components.language.rotation import rotate
from components.language.rotation_columns import Columns


class LatentAttention(AttentionHalf):
    """Latents on every rank, heads split over tensor-parallel ranks; see docs/decisions/0022.

    Names are those of Megatron-Core's own latent attention. The latent is what is kept for a backward pass that
    computes attention again, and what context-parallel ranks send each other: it is much narrower than keys and values.

    Source: DeepSeek-V2 (arXiv 2405.04434), section 2.1; transformers 5.23 models/deepseek_v3, DeepseekV3Attention.
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
        self.columns, self.layer_number, self.tensor_group = columns, layer_number, pg_collection.tp
        assert part.latent is not None
        self.latent, tp = part.latent, pg_collection.tp.size()
        if part.heads % tp:
            raise BuildError(f"{part.heads} heads cannot be split over {tp} tensor-parallel ranks")
        self.heads = part.heads // tp
        self.plain_dim = part.head_dim - self.latent.rope_dim
        # Where latents are gathered over context-parallel ranks, those of all tokens have to be there before.
        self.gathers = config.sequence_parallel and pg_collection.cp.size() > 1
        rank, width = self.latent.query_rank, part.heads * part.head_dim
        if rank is None:
            self.linear_q_proj = self._split_linear(config, config.hidden_size, width)
        else:
            self.linear_q_down_proj = ReplicatedLinear(config, config.hidden_size, rank)
            self.q_layernorm = rms_norm(config, rank, self.latent.norm_eps)
            self.linear_q_up_proj = self._split_linear(config, rank, width)
        kv_rank = self.latent.kv_rank
        self.linear_kv_down_proj = ReplicatedLinear(config, config.hidden_size, kv_rank + self.latent.rope_dim)
        self.kv_layernorm = rms_norm(config, kv_rank, self.latent.norm_eps)
        gathered = copy.copy(config)
        gathered.sequence_parallel = config.sequence_parallel and not self.gathers
        self.linear_kv_up_proj = self._split_linear(gathered, kv_rank, part.heads * (self.plain_dim + part.value_dim))

    def _split_linear(self, config: TransformerConfig, inner: int, outer: int) -> nn.Module:
        linear: nn.Module = get_backend(config.transformer_impl).column_parallel_linear()(
            inner,
            outer,
            init_method=config.init_method,
            bias=False,
            gather_output=False,
            **self.shared | {"config": config},
        )
        return linear

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, rotary_pos_emb: Tensor, **_: Any
    ) -> tuple[Tensor, None]:
        """Attend within each row of the batch; arguments and result are those of `SelfAttention.forward`."""
        query = self._queries(hidden_states, rotary_pos_emb)
        latent, turning = self.linear_kv_down_proj(hidden_states).split([self.latent.kv_rank, self.latent.rope_dim], -1)
        latent = self.kv_layernorm(latent)
        if self.gathers:
            # The projection behind it sums gradients over ranks: here each takes its own tokens'.
            latent = gather_from_sequence_parallel_region(
                latent, tensor_parallel_output_grad=False, group=self.tensor_group
            )
        turned = rotate(self._to_all_heads(turning).unsqueeze(2), rotary_pos_emb, self.columns).squeeze(2)
        return self._output(self._attend, query, latent, turned, attention_mask)

    def _queries(self, hidden_states: Tensor, rotation: Tensor) -> Tensor:
        """[S, B, N, D] of hidden states [s, B, H]."""
        if self.latent.query_rank is None:
            query, _ = self.linear_q_proj(hidden_states)
        else:
            query, _ = self.linear_q_up_proj(self.q_layernorm(self.linear_q_down_proj(hidden_states)))
        plain, turning = query.unflatten(-1, (self.heads, -1)).split([self.plain_dim, self.latent.rope_dim], -1)
        return torch.cat([plain, rotate(turning, rotation, self.columns)], dim=-1)

    def _to_all_heads(self, shared: Tensor) -> Tensor:
        """[s, B, R] to [S, B, R]; backward, what the heads of all tensor-parallel ranks make of it is summed."""
        if self.config.sequence_parallel:
            return gather_from_sequence_parallel_region(shared, group=self.tensor_group)
        return copy_to_tensor_model_parallel_region(shared, group=self.tensor_group)

    def _attend(self, query: Tensor, latent: Tensor, turned: Tensor, metadata: Tensor) -> Tensor:
        """[S, B, N * V] of queries [S, B, N, D], latents [S or s, B, L] and the rotated part of keys [S, B, R].

        Under context parallelism S is this rank's share, and latents are gathered in rank order.
        """
        if self.context_group.size() == 1:
            attended: Tensor = self.core_attention(query, *self._keys_and_values(latent, turned), metadata)
            return attended
        # One message for both; their gradients come back summed over ranks.
        both = gather_from_sequence_parallel_region(torch.cat([latent, turned], dim=-1), group=self.context_group)
        keys_and_values = self._keys_and_values(*both.split([self.latent.kv_rank, self.latent.rope_dim], -1))
        return self.core_attention(query, *keys_and_values, metadata, self.context_group.rank() * query.shape[0])

    def _keys_and_values(self, latent: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """[S, B, N, D] and [S, B, N, V]."""
        both, _ = self.linear_kv_up_proj(latent)
        plain, value = both.unflatten(-1, (self.heads, -1)).split([self.plain_dim, self.part.value_dim], -1)
        return torch.cat([plain, turned.unsqueeze(2).expand(-1, -1, self.heads, -1)], dim=-1), value
