"""`language.gpt`: a decoder on Megatron-Core's GPTModel. The only file that depends on GPTModel.

Legend: S sequence, B batch, H hidden, V vocabulary, F metadata fields, R rotation columns.
"""

from typing import Any

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel.mappings import scatter_to_sequence_parallel_region
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch import Tensor, nn

from components.build_error import BuildError
from components.context import BuildContext, CoreAttention
from components.fusion.rank_tokens import RankTokens
from components.fusion.rotary import RotationTable
from components.language.core_attention import DenseMasks, MaskedAttention
from components.language.decoder_layer import DecoderLayer, attention_spec, delta_net_spec, layer_spec
from components.language.documents import PackedDocuments
from components.language.expert_sets import SetPlace
from components.language.frequencies import rotation_table
from components.language.gpt_declaration import Gpt, Layer, kind_of, layer_kinds
from components.language.injection import Injection
from components.language.norms import rms_norm
from components.language.rotation_columns import rotation_columns


class LanguageModel(GPTModel):
    """A GPTModel that only consumes: embeddings after placement, mask metadata, a rotation for every layer kind."""

    def __init__(self, section: Gpt, context: BuildContext) -> None:
        super().__init__(
            config=context.transformer,
            transformer_layer_spec=block_spec(section, context),  # pyright: ignore[reportArgumentType]
            vocab_size=section.config.vocab_size,
            max_sequence_length=section.config.max_positions,
            pre_process=context.pre_process,
            post_process=context.post_process,
            share_embeddings_and_output_weights=context.tied,
            position_embedding_type="none",
            scatter_embedding_sequence_parallel=False,
            pg_collection=context.groups,
            vp_stage=context.vp_stage,
        )
        self.injection = Injection.of(context, len(self.decoder.layers))
        for number, layer in enumerate(self.decoder.layers):
            assert isinstance(layer, DecoderLayer)
            layer.place = self.injection.place(number)
        self.softcap = section.config.logit_softcap
        # No buffer: half-precision wrappers cast those, and angles need float32.
        self._tables = {torch.device("cpu"): rotation_table(section)}

    def rotation_table(self, device: torch.device) -> RotationTable:
        """What turns positions into the angles of every pair of every layer kind, on a device."""
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device]

    @property
    def layers(self) -> nn.ModuleList:
        """Megatron-Core's schedules tell `decoder.layers` of a model which micro-batch it is; a spec may name it so."""
        layers: nn.ModuleList = self.decoder.layers
        return layers

    def forward(  # type: ignore[override]
        self,
        decoder_input: Tensor | None,
        metadata: Tensor,
        rotation: Tensor,
        levels: Tensor | None = None,
        labels: Tensor | None = None,
        runtime_gather_output: bool | None = None,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> Tensor:
        """Run this stage's layers and, on the last stage, the output layer.

        Args:
            decoder_input: [S, B, H] embeddings after placement, the whole sequence on every tensor-parallel rank (each
                goes on with its part under sequence parallelism); None on later stages (`set_input_tensor`).
            metadata: [B, F, S] int32. rotation: [2, S, B, 1, R]. Under context parallelism, everything is of this
                rank's positions but for the metadata, which are of all, in rank order.
            levels: [K, N, H] features of this rank's tokens, a level for each layer after which one is added; None:
                there are none, or this is a later stage.
            labels: [B, S] int64, already shifted, negative where ignored (loss 0); only read on the last stage.
            runtime_gather_output: gather logits over tensor-parallel ranks.

        Returns:
            Hidden states [S, B, H] before the last stage, packed with the levels that later stages add; there, logits
            [B, S, V] or, with labels, loss [B, S] float32.
        """
        if decoder_input is not None and self.config.sequence_parallel:
            # Here and not in the embedding: features are placed by their position in the whole sequence.
            decoder_input = scatter_to_sequence_parallel_region(decoder_input, group=self.pg_collection.tp)
        if not self.pre_process and self.injection.arriving:
            assert self.decoder.input_tensor is not None
            hidden_states, levels = self.injection.unpack(self.decoder.input_tensor, metadata)
            self.decoder.set_input_tensor(hidden_states)
        hidden_states = self.decoder(
            hidden_states=decoder_input,
            attention_mask=metadata,
            context=levels,
            rotary_pos_emb=rotation,
            packed_seq_params=packed_seq_params,
        )
        if not self.post_process:
            return self.injection.pack(hidden_states, levels)
        weight = self.shared_embedding_or_output_weight() if self.share_embeddings_and_output_weights else None
        logits, _ = self.output_layer(hidden_states, weight=weight, runtime_gather_output=runtime_gather_output)
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        if labels is None:
            return logits.transpose(0, 1).contiguous()
        losses: Tensor = self.compute_language_model_loss(labels.clamp(min=0), logits)
        return losses.masked_fill(labels < 0, 0.0)


def build(section: Gpt, context: BuildContext) -> LanguageModel:
    """The decoder of one pipeline stage.

    Raises:
        BuildError: the order of layers and their number differ.
    """
    order, sizes = section.layers.order, section.config
    if len(order) != sizes.num_layers:
        raise BuildError(f"layers.order has {len(order)} entries for num_layers: {sizes.num_layers}")
    return LanguageModel(section, context)


def run(module: LanguageModel, _section: Gpt, **inputs: Any) -> Tensor:
    """Forward of one pipeline stage; see `LanguageModel.forward`."""
    output: Tensor = module(**inputs)
    return output


def block_spec(section: Gpt, context: BuildContext) -> TransformerBlockSubmodules:
    """Recipes for the layers of this stage, and the final norm."""
    columns = rotation_columns(section)
    specs: dict[str, ModuleSpec] = {}
    masks, documents = DenseMasks(context.layout), PackedDocuments()
    mixers = {}
    for kind in layer_kinds(section):
        layer = section.layers.kinds[kind]
        if layer.attention is None:
            mixers[kind] = delta_net_spec(layer, documents)
        else:
            core = _core_attention(layer, kind, masks, context)
            mixers[kind] = attention_spec(layer, columns[kind], core)
    tokens = RankTokens.of(context.groups, sequence_parallel=context.transformer.sequence_parallel)
    place = SetPlace(context.layout.set_field, tokens) if context.layout.sets else None
    for name in dict.fromkeys(section.layers.names):
        specs[name] = layer_spec(section.layers.whole(name), mixers[kind_of(name)], place)
    stage = {"vp_stage": context.vp_stage, "pp_rank": context.groups.pp.rank()}
    first = get_transformer_layer_offset(context.transformer, **stage)
    count = get_num_layers_to_build(context.transformer, **stage)
    names = section.layers.names[first : first + count]
    return TransformerBlockSubmodules(layer_specs=[specs[name] for name in names], layer_norm=rms_norm)


def _core_attention(layer: Layer, kind: str, masks: DenseMasks, context: BuildContext) -> nn.Module:
    part = layer.attention
    assert part is not None
    rule, scale, softcap = context.rules[kind], layer.score_scale, part.softcap
    dense = MaskedAttention(rule, masks, scale, context.transformer.attention_dropout, softcap)
    if context.core_attention is None or context.groups.cp.size() > 1:
        return dense
    wanted = CoreAttention(rule, part.heads, part.kv_heads, part.head_dim, part.value_dim, scale, softcap)
    return context.core_attention(wanted, dense)
