"""A feed-forward kind that no layer has: of another size of the family, it is no part of this model."""

import pytest
from attrs import evolve

from components.language.gpt_declaration import Gpt, active_experts, has_experts, set_names
from tests.parity.shipped_spec import tiny_of


@pytest.fixture
def sparse() -> Gpt:
    section: Gpt = tiny_of("ernie4_5_vl_moe").decoder().config
    return section


def _all(section: Gpt, kind: str) -> Gpt:
    layers = section.layers
    return evolve(section, layers=evolve(layers, ffn_order=(kind,) * len(layers.order)))


def test_experts_of_layers_count(sparse: Gpt) -> None:
    assert has_experts(sparse)
    assert set_names(sparse)
    assert active_experts(_all(sparse, "sparse")) < 1


def test_experts_that_no_layer_has_do_not(sparse: Gpt) -> None:
    dense = _all(sparse, "dense")
    assert dense.layers.feed_forwards.keys() > dense.layers.feed_forwards_in_use.keys()
    assert not has_experts(dense)
    assert not set_names(dense)
    assert active_experts(dense) == 1
