"""The gated delta net against transformers' module with the same weights: values, every gradient, padding, packing."""

import pytest
import torch

from adapters.megatron import runtime
from components.language import delta_rule
from components.language.delta_net_declaration import DeltaNet
from tests.components.language.delta_nets import (
    PART,
    WIDE,
    copy_weights,
    error,
    gradients,
    hidden,
    metadata,
    ours,
    theirs,
)

BOUND = 1e-5
"""Relative, by norm: what every layer is held to."""


@pytest.fixture(autouse=True)
def alone():
    with runtime.layout():
        yield


def pair(part: DeltaNet = PART):
    oracle, module = theirs(part), ours(part)
    copy_weights(part, oracle, module)
    return oracle, module


def padded(batch: int, length: int) -> torch.Tensor:
    """Real tokens but behind the first row, and in front of the last."""
    valid = torch.ones(batch, length, dtype=torch.bool)
    valid[0, length - 5 :] = False
    valid[-1, :7] = False
    return valid


@pytest.mark.parametrize("part", [PART, WIDE])
@pytest.mark.parametrize("length", [20, 64, 150])
def test_values_and_gradients_are_those_of_transformers(part, length):
    oracle, module = pair(part)
    valid = padded(3, length)
    given = hidden(3, length)
    mine, right = given.clone().requires_grad_(), given.clone().requires_grad_()
    expected = oracle(right, attention_mask=valid.long())
    answer, bias = module(mine.transpose(0, 1), metadata(valid))
    answer = answer.transpose(0, 1)
    assert bias is None
    assert error(answer[valid], expected[valid]) < BOUND
    weights = torch.linspace(-1, 1, expected[valid].numel()).reshape_as(expected[valid])
    (expected[valid] * weights).sum().backward()
    (answer[valid] * weights).sum().backward()
    assert error(mine.grad, right.grad) < BOUND
    found = gradients(part, module)
    wanted = {name: value.grad for name, value in oracle.named_parameters()}
    assert found.keys() == wanted.keys()
    assert {
        name: error(found[name], wanted[name]) for name in wanted if not error(found[name], wanted[name]) < BOUND
    } == {}


@pytest.mark.parametrize("chunk", [1, 7, 16, 200])
def test_chunks_of_any_length_give_the_same(chunk, monkeypatch):
    _, module = pair()
    given, every = hidden(2, 50).transpose(0, 1), metadata(torch.ones(2, 50, dtype=torch.bool))
    expected = module(given, every)[0]
    rule = delta_rule.gated_delta_rule
    monkeypatch.setattr(
        "components.language.delta_kernels.gated_delta_rule", lambda *values: rule(*values, chunk=chunk)
    )
    assert error(module(given, every)[0], expected) < BOUND


def test_a_state_goes_through_many_chunks():
    """Of a hundred tokens in chunks of eight, the first changes the last."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 100, 1, 8).unbind()
    value = torch.randn(1, 100, 1, 1, 8)
    decay, strength = torch.full((1, 100, 1, 1), -0.01), torch.full((1, 100, 1, 1), 0.05)
    before = delta_rule.gated_delta_rule(query, key, value, decay, strength, chunk=8)
    value[:, 0] *= -1
    after = delta_rule.gated_delta_rule(query, key, value, decay, strength, chunk=8)
    assert error(after[:, -1], before[:, -1]) > 1e-3


def test_packed_documents_are_those_apart():
    """Values and gradients; padding behind the last document."""
    _, module = pair()
    lengths, tail = (30, 1, 75), 6
    documents = [hidden(1, length, seed=length) for length in lengths]
    row = torch.cat([*documents, hidden(1, tail)], dim=1)
    borders = torch.tensor([0, *torch.tensor(lengths).cumsum(0)])
    valid = torch.ones(1, row.shape[1], dtype=torch.bool)
    packed = module(row.transpose(0, 1), metadata(valid, borders))[0][: sum(lengths)]
    weights = torch.linspace(-1, 1, packed.numel()).reshape_as(packed)
    (packed * weights).sum().backward()
    found = gradients(PART, module)
    module.zero_grad()
    apart = [
        module(each.transpose(0, 1), metadata(torch.ones(1, each.shape[1], dtype=torch.bool)))[0] for each in documents
    ]
    (torch.cat(apart) * weights).sum().backward()
    assert error(packed, torch.cat(apart)) < BOUND
    wanted = gradients(PART, module)
    assert max(error(found[name], wanted[name]) for name in wanted) < BOUND


def test_padding_changes_nobody():
    _, module = pair()
    valid = padded(3, 40)
    given = hidden(3, 40)
    expected = module(given.transpose(0, 1), metadata(valid))[0].transpose(0, 1)[valid]
    given[~valid] = 100.0
    assert torch.equal(module(given.transpose(0, 1), metadata(valid))[0].transpose(0, 1)[valid], expected)


def test_recomputed_attention_is_the_same():
    oracle, kept = pair()
    again = ours(PART, recompute_granularity="selective", recompute_modules=["core_attn"]).train()
    copy_weights(PART, oracle, again)
    every = metadata(torch.ones(2, 40, dtype=torch.bool))
    for module in (kept, again):
        module(hidden(2, 40).transpose(0, 1), every)[0].square().sum().backward()
    found, wanted = gradients(PART, again), gradients(PART, kept)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_form_can_be_asked():
    assert ours().form.name == "torch"  # no GPU, and float32


def test_fresh_heads_forget_at_different_speeds():
    module = ours()
    assert module.decay.unique().numel() == PART.value_heads
    assert 0.01 <= float(module.decay.exp().min()) < float(module.decay.exp().max()) <= 16
    assert (module.decay_bias == 1).all()
    assert float(module.conv_weight.abs().max()) <= PART.conv**-0.5
