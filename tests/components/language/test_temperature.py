"""Queries that grow with their position: by document, and on every context-parallel rank alike."""

import torch

from components.fusion.mask_metadata import MetadataLayout
from components.language.temperature import tempered
from components.language.temperature_declaration import Temperature

PART = Temperature(floor_scale=4, attn_scale=0.1)


def right(position: int) -> float:
    """As transformers' Llama 4 computes it."""
    steps = torch.floor((torch.tensor(float(position)) + 1.0) / PART.floor_scale)
    return float(torch.log1p(steps) * PART.attn_scale + 1.0)


def factors(metadata, first=0, length=None):
    ones = torch.ones(length or metadata.shape[2], metadata.shape[0], 2, 3)
    return tempered(ones, metadata, first, PART)[:, :, 0, 0].t()


def expected(rows):
    return torch.tensor([[right(position) for position in row] for row in rows])


def test_positions_begin_with_each_document():
    metadata = MetadataLayout().build(torch.zeros(1, 16, dtype=torch.long), cu_seqlens=torch.tensor([0, 9, 16]))
    rows = [[*range(9), *range(7)]]
    assert torch.equal(factors(metadata), expected(rows))
    assert expected(rows).unique().numel() == 3


def test_padding_before_the_first_token_counts_as_it_does_in_transformers():
    valid = torch.tensor([[False] * 5 + [True] * 5, [True] * 8 + [False] * 2])
    metadata = MetadataLayout().build(torch.zeros(2, 10, dtype=torch.long), valid)
    assert torch.equal(factors(metadata), expected([range(10)] * 2))


def test_a_rank_has_the_positions_of_its_own_tokens():
    order = torch.tensor([0, 1, 2, 9, 10, 11, 3, 4, 5, 6, 7, 8])
    metadata = MetadataLayout().build(torch.zeros(1, 12, dtype=torch.long), rank_order=order)
    assert torch.equal(factors(metadata, 6, 6), expected([range(3, 9)]))


def test_computed_wide_and_given_back_as_it_came():
    metadata = MetadataLayout().build(torch.zeros(1, 12, dtype=torch.long))
    query = torch.randn(12, 1, 2, 4).bfloat16()
    made = tempered(query, metadata, 0, PART)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, (query * expected([range(12)]).t()[..., None, None]).bfloat16())
