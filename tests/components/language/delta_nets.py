"""Gated delta nets of transformers and of this package with the same weights, and documents for both."""

from typing import Any

import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from torch import Tensor, nn
from transformers.models.qwen3_5_moe.configuration_qwen3_5_moe import Qwen3_5MoeTextConfig
from transformers.models.qwen3_5_moe.modeling_qwen3_5_moe import Qwen3_5MoeGatedDeltaNet

from adapters.huggingface.rank_share import WHOLE, RankShare
from adapters.huggingface.weight_map import Entry, _chosen
from adapters.huggingface.weight_plan import Slot
from adapters.huggingface.weight_rows import parse
from adapters.huggingface.weight_table import LAYER
from adapters.megatron import composed_config
from adapters.parity.oracle import perturb
from components.fusion.mask_metadata import MetadataLayout
from components.language.delta_net import GatedDeltaNet
from components.language.delta_net_declaration import DeltaNet
from components.language.documents import PackedDocuments
from components.language.feed_forward_declaration import Dense, FeedForward
from components.language.gpt_declaration import Layer
from tests.parity.shipped_spec import tiny_of

PART = DeltaNet(key_heads=2, value_heads=6, key_dim=12, value_dim=10, conv=4)
WIDE = DeltaNet(key_heads=4, value_heads=8, key_dim=12, value_dim=10, conv=4)
HIDDEN, EPS = 56, 1e-5  # of the tiny model whose configuration is taken


def theirs(part: DeltaNet = PART, seed: int = 0) -> nn.Module:
    """transformers' module, every value seeded, and slow enough to remember across chunks."""
    config = Qwen3_5MoeTextConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
        linear_num_key_heads=part.key_heads,
        linear_num_value_heads=part.value_heads,
        linear_key_head_dim=part.key_dim,
        linear_value_head_dim=part.value_dim,
        linear_conv_kernel_dim=part.conv,
        rms_norm_eps=EPS,
    )
    module = Qwen3_5MoeGatedDeltaNet(config, 0)
    perturb(module, seed)
    with torch.no_grad():
        module.A_log.copy_(torch.linspace(-5.0, -1.0, part.value_heads))
    return module


def ours(part: DeltaNet = PART, **settings: Any) -> GatedDeltaNet:
    """A module of this package with fresh values; needs `runtime.init`."""
    config = composed_config(tiny_of("llava"), **settings)
    groups = ProcessGroupCollection.use_mpu_process_groups()
    assert (config.hidden_size, config.layernorm_epsilon) == (HIDDEN, EPS)
    return GatedDeltaNet(config, 1, part, False, PackedDocuments(), groups)


def entries(part: DeltaNet, share: RankShare = WHOLE) -> dict[str, Entry]:
    """Lines of the weight table that the mixer brings, by the composed name."""
    layer = Layer(ffn=FeedForward(dense=Dense(1)), delta_net=part)
    chosen = _chosen(parse(LAYER), layer, "here", "there", share)
    return {
        entry.composed[0].removeprefix("here.self_attention."): entry
        for entry in chosen
        if "linear_attn" in entry.names[0]
    }


def pieces(part: DeltaNet, tensors: dict[str, Tensor], share: RankShare = WHOLE) -> dict[str, tuple[Entry, Any]]:
    """Every tensor of transformers' module inside those of ours, by its name."""
    found = {}
    for name, entry in entries(part, share).items():
        for theirs_, piece in zip(entry.names, entry.operation([tensors[name]]), strict=True):
            found[theirs_.removeprefix("there.linear_attn.")] = (entry, piece)
    return found


@torch.no_grad()
def copy_weights(part: DeltaNet, source: nn.Module, target: GatedDeltaNet, share: RankShare = WHOLE) -> None:
    """From transformers' module to a rank's."""
    values = source.state_dict()
    for name, (entry, piece) in pieces(part, dict(target.named_parameters()), share).items():
        slot = Slot(piece, (), name, entry.window(share, piece))
        assert slot.shape == values[name].shape, name
        stored = values[name].reshape(slot.matrix.lines, slot.matrix.width)
        for place, view in slot.places():
            view.copy_(stored[place.first : place.last, place.left : place.right])


def gradients(part: DeltaNet, module: GatedDeltaNet, share: RankShare = WHOLE) -> dict[str, Tensor]:
    """By transformers' names; a rank's part."""
    found = {name: value.grad for name, value in module.named_parameters()}
    return {name: piece.values() for name, (_, piece) in pieces(part, found, share).items()}


def metadata(valid: Tensor, borders: Tensor | None = None) -> Tensor:
    """Of text alone."""
    layout = MetadataLayout.for_rules([], {})
    return layout.build(torch.ones(valid.shape, dtype=torch.int64), valid, borders)


def hidden(batch: int, length: int, seed: int = 1) -> Tensor:
    """[B, S, H], of a size that norms leave."""
    return torch.randn(batch, length, HIDDEN, generator=torch.Generator().manual_seed(seed))


def error(given: Tensor, expected: Tensor) -> float:
    """Relative, by norm."""
    given, expected = given.detach().double(), expected.detach().double()
    return float((given - expected).norm() / expected.norm())
