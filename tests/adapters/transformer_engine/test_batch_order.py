"""Which batches a kernel that counts indices may see; on the CPU, with a stand-in that says who was asked."""

import pytest
import torch
from torch import Tensor, nn

from adapters.transformer_engine.causal_attention import BatchOrder, CausalAttention
from components.fusion.mask_metadata import MetadataLayout

LAYOUT = MetadataLayout.for_rules((), {})


class Asked(nn.Module):
    """Answers with its number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, query: Tensor, *_: Tensor | None, **__: object) -> Tensor:
        return torch.full_like(query, self.number)


def _answer(valid: list[list[int]] | None = None, cu_seqlens: list[int] | None = None, batch: int = 2) -> float:
    ids = torch.ones(batch, 4, dtype=torch.int64)
    mask = None if valid is None else torch.tensor(valid, dtype=torch.bool)
    borders = None if cu_seqlens is None else torch.tensor(cu_seqlens)
    metadata = LAYOUT.build(ids, mask, borders)
    heads = torch.zeros(4, batch, 1, 2)
    return float(CausalAttention(Asked(1.0), Asked(2.0), BatchOrder())(heads, heads, heads, metadata)[0, 0, 0, 0])


@pytest.mark.parametrize("valid", [None, [[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]])
def test_padding_behind_goes_to_the_kernel(valid: list[list[int]] | None) -> None:
    assert _answer(valid) == 1.0


@pytest.mark.parametrize("valid", [[[0, 1, 1, 1], [1, 1, 1, 1]], [[1, 1, 1, 1], [1, 0, 1, 0]]])
def test_padding_in_front_of_a_token_goes_to_the_dense_mask(valid: list[list[int]]) -> None:
    assert _answer(valid) == 2.0


def test_packed_documents_go_to_the_dense_mask() -> None:
    assert _answer(cu_seqlens=[0, 2, 4], batch=1) == 2.0
    assert _answer(cu_seqlens=[0, 4], batch=1) == 1.0


def test_each_batch_is_asked_anew() -> None:
    order = BatchOrder()
    plain = LAYOUT.build(torch.ones(1, 3, dtype=torch.int64))
    left = LAYOUT.build(torch.ones(1, 3, dtype=torch.int64), torch.tensor([[False, True, True]]))
    assert [order.is_plain(plain), order.is_plain(left), order.is_plain(plain)] == [True, False, True]
