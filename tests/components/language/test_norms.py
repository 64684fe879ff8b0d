"""RMS norms whose weight counts from one, against the formula in float64."""

import pytest
import torch

from adapters.megatron import composed_config, runtime
from components.language.norms import RMSNorm, rms_norm
from tests.parity.shipped_spec import tiny_of

EPS = 1e-6


def norm_of(norm_weight: str, dtype: torch.dtype = torch.float32) -> RMSNorm:
    setting = f"nodes.language_model.config.norm_weight={norm_weight}"
    config = composed_config(tiny_of("llava", overrides=(setting,)), dtype=dtype)
    with runtime.layout():
        made = rms_norm(config, 24, EPS)
    assert isinstance(made, RMSNorm)
    return made


@pytest.mark.parametrize("norm_weight", ["plain", "zero_centered"])
def test_fresh_norms_change_nothing_but_the_size(norm_weight):
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    expected = x.double() / (x.double().square().mean(-1, keepdim=True) + EPS).sqrt()
    assert torch.allclose(norm_of(norm_weight)(x).double(), expected, rtol=0, atol=1e-6)


def test_zero_centered_weights_are_added_to_one_in_float32():
    """In bfloat16, 1 + 0.001 is 1: the sum would lose the weight."""
    norm = norm_of("zero_centered", torch.bfloat16)
    with torch.no_grad():
        norm.weight.fill_(0.001)
    x = torch.ones(1, 24)
    assert torch.allclose(norm(x), torch.full((1, 24), 1.001), rtol=0, atol=1e-5)
    assert (norm.weight.detach() + 1 == 1).all()
