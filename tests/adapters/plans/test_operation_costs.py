"""Costs of single operations, counted by hand."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from adapters.plans.known_values import KnownValues
from adapters.plans.operation_costs import Counting, FusedAttention, OperationCosts


def cost(run, *tensors, weights=()):
    costs = OperationCosts()
    costs.ignore(weights)
    with (
        FusedAttention(),
        saved_tensors_hooks(costs.keep, lambda tensor: tensor),
        Counting(costs, KnownValues(), weights),
    ):
        run(*tensors, *weights)
    return costs


def meta(*shape, dtype=torch.bfloat16, grad=True):
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=grad)


def test_a_product_with_a_parameter():
    found = cost(F.linear, meta(10, 4), weights=(meta(6, 4),))
    assert (found.gemm, found.attention, found.elementwise, found.launches) == (2 * 10 * 4 * 6, 0, 0, 1)
    assert found.kept == 10 * 4 * 2


def test_a_product_of_activations():
    found = cost(torch.matmul, meta(3, 10, 4), meta(3, 4, 6))
    assert (found.gemm, found.attention) == (0, 3 * 2 * 10 * 4 * 6)
    assert found.kept == (3 * 10 * 4 + 3 * 4 * 6) * 2


def test_a_broadcast_tensor_is_read_once():
    found = cost(lambda x, y: x * y.expand(10, 4), meta(10, 4), meta(1, 4))
    assert found.elementwise == (10 * 4 + 4 + 10 * 4) * 2
    assert found.launches == 1


def test_a_view_costs_nothing():
    found = cost(lambda x: x.view(2, 20).transpose(0, 1)[3:].detach(), meta(10, 4))
    assert (found.elementwise, found.launches, found.kept) == (0, 0, 0)


def test_a_lookup_reads_the_rows_it_finds():
    found = cost(lambda table, rows: F.embedding(rows, table), meta(1000, 8), meta(5, dtype=torch.int64, grad=False))
    assert found.elementwise == 5 * 8 * 2 + 5 * 8 + 5 * 8 * 2


def test_a_cast_is_read_narrow_and_written_wide():
    found = cost(lambda x: x.float(), meta(10, 4))
    assert found.elementwise == 10 * 4 * (2 + 4)


def test_what_is_kept_twice_is_counted_once():
    found = cost(lambda x: x.exp().square().view(-1).square(), meta(10, 4))
    # exp keeps its output, which square keeps too; the second square keeps the first one's output.
    assert found.kept == 2 * 10 * 4 * 2


@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_keeps_no_scores(masked):
    query, key, value = (meta(2, 3, 50, 8) for _ in range(3))
    mask = meta(2, 1, 50, 50, dtype=torch.bool, grad=False) if masked else None
    found = cost(lambda *inputs: F.scaled_dot_product_attention(*inputs, attn_mask=mask), query, key, value)
    assert found.attention == 2 * 3 * 2 * 2 * 50 * 50 * 8
    row = 2 * 3 * 50
    assert found.kept == 4 * row * 8 * 2 + row * 4 + (2 * 50 * 50 * 2 if masked else 0)


def test_heads_that_share_keys():
    run = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True)  # noqa: E731
    assert cost(run, meta(1, 4, 9, 8), meta(1, 2, 9, 8), meta(1, 2, 9, 8)).attention == 4 * 2 * 2 * 9 * 9 * 8
