"""The projector of linear layers: what it computes, and how it starts."""

from types import SimpleNamespace

import pytest
import torch
from transformers.activations import ACT2FN

from components.projector import mlp
from components.projector.mlp import ACTIVATIONS, MlpProjector
from components.projector.mlp_declaration import Mlp


def built(dtype=torch.float32, **section) -> MlpProjector:
    torch.manual_seed(0)
    context = SimpleNamespace(transformer=SimpleNamespace(params_dtype=dtype))
    return mlp.build(Mlp(in_dim=12, out_dim=20, **section), context)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name):
    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(ACTIVATIONS[name](x), ACT2FN[name](x), rtol=0, atol=1e-6)


@torch.no_grad()
def test_two_layers_by_hand():
    projector = built(activation="relu")
    x = torch.randn(5, 12)
    between = (x @ projector.layer(1).weight.T + projector.layer(1).bias).clamp(min=0)
    by_hand = between @ projector.layer(2).weight.T + projector.layer(2).bias
    torch.testing.assert_close(mlp.run(projector, None, **{"in": x}, item_rows=torch.tensor([5])), by_hand)


@pytest.mark.parametrize(
    ("depth", "bias", "norm", "names"),
    [
        (1, False, "none", ["linear_1.weight"]),
        (3, True, "rms", ["norm.weight", *(f"linear_{n}.{what}" for n in (1, 2, 3) for what in ("weight", "bias"))]),
        (1, False, "layer", ["norm.weight", "norm.bias", "linear_1.weight"]),
    ],
)
def test_parameters(depth, bias, norm, names):
    projector = built(depth=depth, bias=bias, norm=norm)
    assert [name for name, _ in projector.named_parameters()] == names
    assert projector(torch.randn(2, 3, 12)).shape == (2, 3, 20)


def test_one_layer_has_no_activation():
    projector = built(depth=1, bias=False)
    x = torch.randn(4, 12)
    torch.testing.assert_close(projector(-x), -projector(x))


def test_fresh_rows_keep_their_size():
    section = Mlp(in_dim=400, out_dim=300, depth=1)
    torch.manual_seed(0)
    projector = mlp.build(section, SimpleNamespace(transformer=SimpleNamespace(params_dtype=torch.float32)))
    assert projector(torch.randn(200, 400)).std().item() == pytest.approx(1.0, rel=0.05)
    assert not projector.layer(1).bias.any()
    assert all(parameter.dtype == torch.bfloat16 for parameter in built(torch.bfloat16).parameters())
