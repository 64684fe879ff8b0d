"""Encoders without data run on a spare item: every parameter is used, and nothing changes."""

import pytest
import torch
from torch.testing import assert_close

from adapters.deepspeed.idle_towers import IdleTowers
from adapters.megatron import build
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, perturb
from tests.parity.shipped_spec import tiny_of


@pytest.mark.parametrize("given", ["both", "clips", "nothing"])
def test_what_is_idle_adds_nothing_and_has_gradients_of_zero(given):
    """Pictures and clips go through one tower, which has levels beside its features."""
    graph = tiny_of("qwen3_vl")
    batch = make_batch(graph, build_oracle(graph))
    model, plain = build(graph).train(), build(graph).train()
    for each in (model, plain):
        perturb(each)
    towers = IdleTowers(model)
    towers.keep(batch.features, int(batch.images_per_sample.sum()))
    ids, features = batch.input_ids.clone(), dict(batch.features)
    if given != "both":
        ids[ids == graph.tokens["image"]] = 5
        features |= {"pixel_values": None, "image_grid_thw": None}
    if given == "nothing":
        ids[ids == graph.tokens["video"]] = 5
        features = dict.fromkeys(features)
    losses = [each(ids, batch.attention_mask, labels=batch.labels, **features)[0] for each in (model, plain)]
    assert_close(losses[0], losses[1], rtol=0, atol=0)
    losses[0].sum().backward()
    losses[1].sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        other = expected[name].grad
        assert_close(parameter.grad, torch.zeros_like(parameter) if other is None else other, rtol=0, atol=0, msg=name)
    assert bool(towers.idle) == (given == "nothing")
