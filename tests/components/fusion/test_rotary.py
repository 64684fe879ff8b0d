"""Frequencies and positions, against transformers' own and by definition."""

import pytest
import torch
from torch.testing import assert_close

from adapters.parity.oracle import build_oracle
from components.fusion.rotary import inverse_frequencies, position_ids_of, rotation
from components.language.gpt import rotation_frequencies
from tests.parity.shipped_spec import tiny_graph


@pytest.mark.parametrize("kind", ["sliding_attention", "full_attention"])
def test_frequencies_are_transformers_own_bits(kind):
    graph = tiny_graph(0)
    table = build_oracle(graph).model.language_model.rotary_emb
    layer = graph.decoder().config.layers.kinds[kind]
    ours = inverse_frequencies(layer.attention.head_dim, layer.rope.theta, layer.rope.partial)
    assert torch.equal(ours, getattr(table, f"{kind}_inv_freq"))


def test_partial_stands_still_behind_its_share():
    frequencies = inverse_frequencies(16, 10_000.0, 0.25)
    assert frequencies[:2].gt(0).all()
    assert frequencies[2:].eq(0).all()


def test_all_kinds_lie_side_by_side():
    section = tiny_graph(0).decoder().config
    widths = [layer.attention.head_dim // 2 for layer in section.layers.kinds.values()]
    assert rotation_frequencies(section).shape == (sum(widths),)


def test_positions_restart_at_documents():
    ids = torch.zeros(1, 6, dtype=torch.long)
    borders = torch.tensor([0, 2, 6])
    assert position_ids_of(ids, borders, 0).tolist() == [[0, 1, 0, 1, 2, 3]]
    assert position_ids_of(ids, None, 1).tolist() == [[1, 2, 3, 4, 5, 6]]


def test_rotation_is_cosine_then_sine():
    turned = rotation(torch.tensor([[0, 1, 2]]), torch.tensor([1.0, 0.5]), torch.float32)
    assert turned.shape == (2, 3, 1, 1, 2)
    angles = torch.tensor([[0.0, 0.0], [1.0, 0.5], [2.0, 1.0]])
    assert_close(turned[0, :, 0, 0], angles.cos())
    assert_close(turned[1, :, 0, 0], angles.sin())
