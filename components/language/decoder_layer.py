"""One decoder layer: Megatron-Core's TransformerLayer with the halves of this package in its slots."""

from functools import partial
from typing import Any

import torch
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules
from torch import Tensor, nn

from components.fusion.inject import add_level
from components.language.attention import SelfAttention
from components.language.delta_net import GatedDeltaNet
from components.language.documents import PackedDocuments
from components.language.expert_sets import SetPlace
from components.language.feed_forward import FeedForwardHalf
from components.language.gpt_declaration import Layer
from components.language.injection import LevelPlace
from components.language.latent_attention import LatentAttention
from components.language.norms import rms_norm
from components.language.rotation_columns import Columns


class DecoderLayer(TransformerLayer):
    """A TransformerLayer whose output may be scaled by a stored number, and to which features may be added.

    Norms after a half live in the half: Megatron-Core's residual adds, recomputation and offloading stay as they are.
    """

    def __init__(self, *args: Any, scaled: bool = False, sets: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.output_scale: Tensor | None
        scale = torch.ones(1, dtype=self.config.params_dtype, device=torch.cuda.current_device()) if scaled else None
        self.register_buffer("output_scale", scale)
        self.place: LevelPlace | None = None
        self.metadata_for_experts = sets

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """[S, B, H] to [S, B, H]; arguments are those of Megatron-Core's TransformerLayer, by name.

        Its `context` is not attended to: it holds levels of features [K, N, H], one of which is added here, and goes on
        from layer to layer, through recomputation too.
        """
        if self.metadata_for_experts:
            # Megatron-Core hands this argument, and no other, to the feed-forward half, through recomputation too.
            kwargs["padding_mask"] = kwargs["attention_mask"]
        result: Any = super().forward(*args, **kwargs)
        output, levels = result
        output = output if self.output_scale is None else output * self.output_scale
        if self.place is not None and levels is not None:
            rows = self.place.tokens.own(kwargs["attention_mask"][:, self.place.field])
            output = add_level(output, levels[self.place.level], rows)
        return output, levels


def attention_spec(layer: Layer, columns: Columns | None, core: nn.Module) -> ModuleSpec:
    """Recipe for the attention of one layer kind.

    Args:
        layer: the kind, complete.
        columns: the kind's columns of the rotation, see `components.fusion.rotary`; None: no rotation.
        core: the kind's core attention; has no parameters, so layers of a kind share it.
    """
    params = {"part": layer.attention, "sandwich": layer.norms == "sandwich", "columns": columns, "core": core}
    latent = layer.attention is not None and layer.attention.latent is not None
    return ModuleSpec(module=LatentAttention if latent else SelfAttention, params=params)


def delta_net_spec(layer: Layer, documents: PackedDocuments) -> ModuleSpec:
    """Recipe for the delta net of one layer kind; layers share what they find out about a batch's documents."""
    params = {"part": layer.delta_net, "sandwich": layer.norms == "sandwich", "documents": documents}
    return ModuleSpec(module=GatedDeltaNet, params=params)


def layer_spec(layer: Layer, mixer: ModuleSpec, place: SetPlace | None = None) -> ModuleSpec:
    """Megatron-Core's recipe for one layer of a kind, around what mixes its tokens.

    `place` is of the number of each token's set of experts; None: there is one set.
    """
    bias_dropout_add: Any = get_bias_dropout_add
    return ModuleSpec(
        module=DecoderLayer,
        params={
            "scaled": layer.output_scale == "layer_scalar",
            "sets": bool(layer.ffn.experts and layer.ffn.experts.sets),
        },
        submodules=TransformerLayerSubmodules(
            input_layernorm=rms_norm,
            self_attention=mixer,
            self_attn_bda=bias_dropout_add,
            pre_mlp_layernorm=IdentityOp,
            mlp=partial(FeedForwardHalf, layer=layer, place=place),
            mlp_bda=bias_dropout_add,
        ),
    )
