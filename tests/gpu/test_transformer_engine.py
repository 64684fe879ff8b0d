"""What goes through Transformer Engine, and that it is the same attention as the dense mask's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build, composed_config, runtime
from adapters.parity.report import relative_error
from adapters.parity.variants import variants
from adapters.transformer_engine import FusedAttention
from adapters.transformer_engine.causal_attention import CausalAttention
from components.context import CoreAttention
from components.fusion.mask_metadata import MetadataLayout
from components.language.core_attention import DenseMasks, MaskedAttention
from composer import Graph, load
from composer.masks import parse

SPEC = Path(__file__).resolve().parents[2] / "specs" / "gemma4_vl.yaml"
HEADS, KV_HEADS, LENGTH = 8, 2, 96
# Rounding of the output alone is 2 ** -9 of it; probabilities are rounded once more.
BFLOAT16_BOUND = 2**-7


@pytest.fixture(autouse=True)
def _transformer_engine() -> None:
    if torch.cuda.is_available():
        pytest.importorskip("transformer_engine", reason="needs Transformer Engine: install vlm-composer[te]")


@pytest.fixture
def graph() -> Graph:
    return load(SPEC, hf=variants(SPEC, load(SPEC).hf_config)[0].hf_config)


def _attention(graph: Graph, rule: str, head_dim: int) -> tuple[CausalAttention, MaskedAttention]:
    from megatron.core.process_groups_config import ProcessGroupCollection

    runtime.ensure()
    config = composed_config(graph, dtype=torch.bfloat16, transformer_impl="transformer_engine")
    factory = FusedAttention.for_model(config, ProcessGroupCollection.use_mpu_process_groups())
    wanted = CoreAttention(parse(rule), HEADS, KV_HEADS, head_dim, head_dim, head_dim**-0.5)
    dense = MaskedAttention(wanted.rule, DenseMasks(MetadataLayout.for_rules([wanted.rule], {})), wanted.scale, 0.0)
    chosen = factory(wanted, dense)
    assert isinstance(chosen, CausalAttention)
    return chosen, dense


def _heads(head_dim: int, batch: int) -> list[Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = [(LENGTH, batch, heads, head_dim) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    return [torch.randn(shape, generator=generator, device="cuda").bfloat16().requires_grad_() for shape in shapes]


def _attend(core: nn.Module, heads: list[Tensor], metadata: Tensor, real: Tensor) -> list[Tensor]:
    """Output at real tokens, and gradients of all heads of a sum over them."""
    output = core(*heads, metadata)
    weights = torch.linspace(-1, 1, output[real].numel(), device="cuda").reshape_as(output[real])
    return [output[real].detach(), *torch.autograd.grad((output[real].float() * weights).sum(), heads)]


@pytest.mark.parametrize("head_dim", [64, 256, 512])
@pytest.mark.parametrize("rule", ["causal", "causal & window(17)"])
@pytest.mark.parametrize("order", ["full", "right", "left", "packed"])
def test_the_same_as_the_dense_mask(graph: Graph, rule: str, head_dim: int, order: str) -> None:
    core, dense = _attention(graph, rule, head_dim)
    batch = 1 if order == "packed" else 2
    ids = torch.ones(batch, LENGTH, dtype=torch.int64, device="cuda")
    valid = torch.ones_like(ids, dtype=torch.bool)
    if order == "right":
        valid[1, 60:] = False
    if order == "left":
        valid[1, :30] = False
    borders = torch.tensor([0, 40, LENGTH], device="cuda") if order == "packed" else None
    metadata = dense.masks.layout.build(ids, valid, borders)
    assert core.order.is_plain(metadata) == (order in ("full", "right"))
    heads, real = _heads(head_dim, batch), valid.T
    for ours, exact in zip(_attend(core, heads, metadata, real), _attend(dense, heads, metadata, real), strict=True):
        assert relative_error(ours, exact) <= BFLOAT16_BOUND


def test_linears_norms_and_causal_attention_are_transformer_engines(graph: Graph) -> None:
    import transformer_engine.pytorch as te

    decoder = build(graph, dtype=torch.bfloat16, transformer_impl="transformer_engine").language_model.decoder
    kinds = graph.decoder().config.layers.order
    for kind, layer in zip(kinds, decoder.layers, strict=True):
        attention, feed_forward = layer.self_attention, layer.mlp
        for linear in (attention.linear_qkv, attention.linear_proj, feed_forward.dense.linear_fc1):
            assert isinstance(linear, te.Linear)
        for norm in (layer.input_layernorm, attention.q_norm, attention.output_norm, feed_forward.input_norm):
            assert isinstance(norm, te.RMSNorm)
        assert isinstance(feed_forward.experts.experts.linear_fc1, te.GroupedLinear)
        assert isinstance(attention.core_attention, CausalAttention) == (kind == "full_attention")
    assert isinstance(decoder.final_layernorm, te.RMSNorm)


def test_weights_of_grouped_experts_go_both_ways(graph: Graph, tmp_path: Path) -> None:
    first = build(graph, transformer_impl="local")
    export_weights(first, tmp_path / "local")
    second = build(graph, transformer_impl="transformer_engine")
    import_weights(second, tmp_path / "local")
    export_weights(second, tmp_path / "grouped")
    third = build(graph, transformer_impl="local")
    import_weights(third, tmp_path / "grouped")
    names = dict(third.named_parameters())
    different = [name for name, value in first.named_parameters() if not torch.equal(value, names[name])]
    assert different == []
