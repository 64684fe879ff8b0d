"""Batches in which a set of experts has no token, and those in which it has all."""

import pytest
import torch

from adapters.parity.pair import make_pair
from tests.parity.shipped_spec import tiny_of


@pytest.mark.parametrize("name", [None, "image_start"], ids=["text alone", "nothing but tokens of pictures"])
def test_a_set_without_tokens(name):
    """Every rank still calls it, forward and backward: others may have tokens for its experts."""
    with make_pair(tiny_of("ernie4_5_vl_moe")) as pair:
        token = 5 if name is None else pair.graph.tokens[name]
        ids = torch.full((2, 9), token) if name else torch.randint(3, 100, (2, 9))
        types = torch.full_like(ids, int(name is not None))
        right = pair.oracle(input_ids=ids, moe_mm_token_type_ids=types, use_cache=False).logits
        ours = pair.ours(input_ids=ids)
        assert (ours - right).norm() < 1e-5 * right.norm()
        ours.sum().backward()
        idle = "expert_sets" if name is None else "mlp.experts.experts"
        gradients = [value.grad for place, value in pair.ours.named_parameters() if idle in place]
        assert gradients
        assert not any(gradient is not None and gradient.any() for gradient in gradients)
