"""Capped scores against the formula, and as few of them at once as the bound says."""

import pytest
import torch

from components.fusion.mask_metadata import MetadataLayout
from components.language import attention_blocks, core_attention
from components.language.attention_blocks import capped_block
from components.language.capped_attention import capped_attention
from components.language.core_attention import DenseMasks, MaskedAttention
from composer import masks

CAP, SCALE = 0.5, 0.3


def heads(queries: int, keys: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 6, queries, 8), (2, 2, keys, 8), (2, 2, keys, 8))
    return [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]


def by_formula(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    key, value = (each.repeat_interleave(3, 1) for each in (key, value))
    scores = CAP * torch.tanh(SCALE * query @ key.transpose(2, 3) / CAP)
    return torch.where(mask, scores, -torch.inf).softmax(-1) @ value


def test_the_formula_and_its_gradients():
    given = heads(5, 7)
    mask = torch.ones(2, 1, 5, 7, dtype=torch.bool).tril(1)
    found = capped_attention(*given, mask, scale=SCALE, cap=CAP)
    wide = [each.detach().double().requires_grad_() for each in given]
    expected = by_formula(*wide, mask)
    assert torch.allclose(found.double(), expected, rtol=0, atol=1e-6)
    gradients = torch.autograd.grad(found.square().sum(), given)
    for one, other in zip(gradients, torch.autograd.grad(expected.square().sum(), wide), strict=True):
        assert torch.allclose(one.double(), other, rtol=0, atol=1e-5)


def test_a_cap_shows():
    given = heads(5, 5)
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    capped, loose = (capped_attention(*given, mask, scale=SCALE, cap=cap) for cap in (CAP, 1e6))
    assert (capped - loose).abs().max() > 1e-2


@pytest.mark.parametrize(("batch", "heads", "keys"), [(1, 1, 1), (2, 8, 4096), (1, 64, 2**20)])
def test_a_block_holds_no_more_scores_than_are_allowed(batch, heads, keys):
    block = capped_block(batch, heads, keys)
    assert block == 1 or block * batch * heads * keys <= attention_blocks.CAPPED_SCORES
    assert (block + 1) * batch * heads * keys > attention_blocks.CAPPED_SCORES


def test_blocks_are_as_small_as_their_scores_demand(monkeypatch):
    """Without it the table of all scores would be stored whenever the mask fits."""
    monkeypatch.setattr(attention_blocks, "CAPPED_SCORES", 2 * 4 * 30 * 7)
    seen = []

    def watched(query, key, value, mask, **settings):
        seen.append(query.shape[2])
        return capped_attention(query, key, value, mask, **settings)

    monkeypatch.setattr(core_attention, "capped_attention", watched)
    rule = masks.parse("bidirectional")
    layout = MetadataLayout.for_rules([rule], {})
    module = MaskedAttention(rule, DenseMasks(layout), SCALE, 0.0, CAP)
    query, key, value = (torch.randn(30, 2, groups, 8) for groups in (4, 2, 2))
    module(query, key, value, layout.build(torch.ones(2, 30, dtype=torch.int64)))
    assert seen == [7, 7, 7, 7, 2]
