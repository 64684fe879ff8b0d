"""Block by block is the same attention, without a table of all pairs."""

import pytest
import torch

from adapters.megatron import runtime
from components.fusion.mask_metadata import MetadataLayout
from components.language import core_attention
from components.language.core_attention import DenseMasks, MaskedAttention
from composer import masks

TOKENS = {"image": 9}
RULES = ("causal", "(causal | same_run(image)) & window(20)", "~causal | same_run(image)")


def attention(rule: str, softcap: float | None = None) -> tuple[MaskedAttention, MetadataLayout]:
    parsed = masks.parse(rule)
    layout = MetadataLayout.for_rules([parsed], TOKENS)
    return MaskedAttention(parsed, DenseMasks(layout), 0.3, 0.0, softcap), layout


def heads(length: int, queries: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((queries, 2, 4, 8), (length, 2, 2, 8), (length, 2, 2, 8))
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("first", [0, 24])
@pytest.mark.parametrize("softcap", [None, 0.7])
def test_blocks_equal_the_table(rule, first, softcap, monkeypatch):
    """Outputs and gradients, for all queries and for one rank's share of them, two documents and padding."""
    module, layout = attention(rule, softcap)
    ids = torch.full((2, 96), 1)
    ids[0, 10:45] = 9
    ids[1, 60:70] = 9
    valid = torch.ones(2, 96, dtype=torch.bool)
    valid[0, :5], valid[1, 90:] = False, False
    metadata = layout.build(ids, valid)
    given = heads(96, 96 - 2 * first)
    table = module(*given, metadata, first)
    expected = torch.autograd.grad(table.square().sum(), given)

    monkeypatch.setattr(core_attention, "TABLE_PAIRS", 1)
    monkeypatch.setattr(core_attention, "BLOCK_QUERIES", 20)
    blocks = module(*given, metadata, first)
    bound = 1e-12 if softcap is None else 1e-6  # caps and softmax are float32 whatever is given
    assert torch.allclose(blocks, table, rtol=0, atol=bound)
    found = torch.autograd.grad(blocks.square().sum(), given)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=bound)


def test_blocks_with_dropout_are_recomputed_as_they_were(monkeypatch):
    """The gradient of a dropped pair is that of the forward pass: by finite differences along one direction."""
    parsed = masks.parse("causal")
    layout = MetadataLayout.for_rules([parsed], TOKENS)
    module = MaskedAttention(parsed, DenseMasks(layout), 0.3, 0.5).train()
    metadata = layout.build(torch.ones(2, 96, dtype=torch.int64))
    monkeypatch.setattr(core_attention, "TABLE_PAIRS", 1)
    monkeypatch.setattr(core_attention, "BLOCK_QUERIES", 20)
    with runtime.layout(seed=3):
        given = heads(96, 96)

        def run(values):
            runtime.init(seed=3)
            return module(*values, metadata).square().sum()

        gradients = torch.autograd.grad(run(given), given)
        step = [1e-6 * torch.ones_like(each) for each in given]
        with torch.no_grad():
            ahead, behind = (run([each + sign * s for each, s in zip(given, step, strict=True)]) for sign in (1, -1))
    expected = sum((gradient * 1e-6).sum() for gradient in gradients)
    assert float((ahead - behind) / 2) == pytest.approx(float(expected), rel=1e-5)
