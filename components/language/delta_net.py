"""A gated delta net as the mixer of a layer, where others attend.

Legend: S sequence (this rank's part under sequence and context parallelism at input and output), B batch, H hidden, G
key heads on this tensor-parallel rank, R value heads of each key head, K and V their widths, F metadata fields.
"""

import math
from contextlib import nullcontext
from typing import Any

import torch
from megatron.core import tensor_parallel
from megatron.core.models.backends import get_backend
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
from torch import Tensor, nn
from torch.nn import functional

from components.build_error import BuildError
from components.fusion.mask_metadata import Field
from components.language.delta_kernels import Sizes, delta_form
from components.language.delta_net_declaration import DeltaNet
from components.language.documents import PackedDocuments
from components.language.head_exchange import HeadExchange
from components.language.norms import GatedRMSNorm, rms_norm

DECAYS = (math.log(0.01), math.log(16.0))
"""Logarithms of how fast fresh heads forget."""


class GatedDeltaNet(MegatronModule):
    """One projection, a causal convolution, the gated delta rule, a gated norm of each head, the output projection.

    Rows of `linear_in`, and channels of the convolution, are ordered by key head (its query, its key, its values; then
    strength, decay and gate of each value), so that a tensor-parallel split falls between heads. `form.name` says what
    computes the rule.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        part: DeltaNet,
        sandwich: bool,
        documents: PackedDocuments,
        pg_collection: ProcessGroupCollection,
        name: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__(config=config)
        self.part, self.documents, self.layer_number = part, documents, layer_number
        self.tp_group, cp = pg_collection.tp, pg_collection.cp.size()
        tp = self.tp_group.size()
        if part.key_heads % (tp * cp):
            ranks = f"{tp} tensor-parallel" + (f" and {cp} context-parallel" if cp > 1 else "")
            raise BuildError(f"{part.key_heads} key heads of a delta net cannot be split over {ranks} ranks")
        self.exchange = HeadExchange(pg_collection.cp)
        self.form = delta_form(config.params_dtype, config.activation_func)
        backend = get_backend(config.transformer_impl)
        shared = {
            "config": config,
            "is_expert": False,
            "tp_group": self.tp_group,
            "skip_bias_add": False,
            "bias": False,
        }
        self.linear_in = backend.column_parallel_linear()(
            config.hidden_size,
            part.key_heads * part.projected,
            init_method=config.init_method,
            gather_output=False,
            **shared,
        )
        self.linear_proj = backend.row_parallel_linear()(
            part.value_heads * part.value_dim,
            config.hidden_size,
            init_method=config.output_layer_init_method,
            input_is_parallel=True,
            **shared,
        )
        bound = part.conv**-0.5
        self.conv_weight = self._of_heads(part.key_heads * part.convolved, 1, part.conv, between=(-bound, bound))
        self.decay = self._of_heads(part.value_heads, between=DECAYS)
        self.decay_bias = self._of_heads(part.value_heads, between=(1.0, 1.0))
        self.norm = GatedRMSNorm(config, part.value_dim, config.layernorm_epsilon, heads_of=self.tp_group)
        self.output_norm = rms_norm(config, config.hidden_size) if sandwich else nn.Identity()
        self.recompute_core = config.recompute_granularity == "selective" and "core_attn" in (
            config.recompute_modules or ()
        )

    def _of_heads(self, *shape: int, between: tuple[float, float]) -> nn.Parameter:
        """This rank's part of something that heads have; drawn as a whole, so that it is the same in every layout."""
        config, group = self.config, self.tp_group
        device = "cpu" if config.use_cpu_initialization else torch.cuda.current_device()
        whole = torch.empty(shape, dtype=torch.float32, device=device)
        if config.perform_initialization:
            tracker: Any = tensor_parallel.get_cuda_rng_tracker()
            on_device = tracker.fork(tensor_parallel.get_data_parallel_rng_tracker_name())
            with nullcontext() if config.use_cpu_initialization else on_device:
                nn.init.uniform_(whole, *between)
        own = whole.chunk(group.size())[group.rank()].to(config.params_dtype, copy=True)
        parameter = nn.Parameter(own)
        tensor_parallel.set_tensor_model_parallel_attributes(parameter, is_parallel=True, dim=0, stride=1)
        return parameter

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, **_: Any) -> tuple[Tensor, None]:
        """Mix each document's tokens, each with those before it; padding writes nothing.

        Args:
            hidden_states: [S, B, H], normed.
            attention_mask: [B, F, S] int32 mask metadata (the argument's name is Megatron-Core's) of whole sequences,
                in rank order under context parallelism.

        Returns:
            [S, B, H] and no bias.
        """
        mixed, _ = self.linear_in(hidden_states)
        length = mixed.shape[0]
        own = slice(self.exchange.rank * length, (self.exchange.rank + 1) * length)
        real = attention_mask[:, Field.VALID, own].transpose(0, 1)
        mixed = (mixed * real[..., None].to(mixed.dtype)).unflatten(-1, (-1, self.part.projected))
        recurrent, gate = mixed.split([self.part.recurrent, self.part.projected - self.part.recurrent], dim=-1)
        if self.recompute_core and self.training:
            answer = tensor_parallel.checkpoint(self._mix, False, recurrent, attention_mask)
        else:
            answer = self._mix(recurrent, attention_mask)
        normed = self.norm(answer, gate.unflatten(-1, (-1, self.part.value_dim)))
        output, _ = self.linear_proj(normed.flatten(2))
        return self.output_norm(output), None

    def _mix(self, recurrent: Tensor, metadata: Tensor) -> Tensor:
        """[S, B, G, R, V] answers from what the rule reads, [S, B, G, 2K + R·V + 2R]."""
        part, exchange = self.part, self.exchange
        rows = exchange.to_heads(recurrent).transpose(0, 1)
        mixed, strength, decay = rows.split([part.convolved, part.values_per_key, part.values_per_key], dim=-1)
        speed, bias = (exchange.own(each.view(-1, part.values_per_key)) for each in (self.decay, self.decay_bias))
        fade = -speed.float().exp() * functional.softplus(decay.float() + bias.float())
        packed = self.documents.find(metadata, exchange.positions(rows.shape[1], rows.device))
        weight = exchange.own(self.conv_weight.unflatten(0, (-1, part.convolved))).flatten(0, 1)
        sizes = Sizes(part.key_dim, part.value_dim)
        answer = self.form(mixed, weight, fade, strength.sigmoid(), sizes, packed)
        return exchange.to_positions(answer.transpose(0, 1))

    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: tuple[tuple[int, int, int], ...] = (),
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Megatron-Core's, with what heads have of their own shared out as they are."""
        found: dict[str, Any] = super().sharded_state_dict(prefix, sharded_offsets, metadata)
        own = {name: getattr(self, name) for name in ("conv_weight", "decay", "decay_bias")}
        return found | make_sharded_tensors_for_checkpoint(
            own,
            prefix,
            dict.fromkeys(own, 0),
            sharded_offsets,
            tp_group=self.tp_group,
            dp_cp_group=(metadata or {}).get("dp_cp_group"),
        )
