"""Positions and rotations, by definition."""

import torch
from torch.testing import assert_close

from components.fusion.rotary import RotationTable, position_ids_of, rotation


def test_positions_restart_at_documents():
    ids = torch.zeros(1, 6, dtype=torch.long)
    borders = torch.tensor([0, 2, 6])
    assert position_ids_of(ids, borders, 0).tolist() == [[0, 1, 0, 1, 2, 3]]
    assert position_ids_of(ids, None, 1).tolist() == [[1, 2, 3, 4, 5, 6]]


def test_rotation_is_cosine_then_sine():
    turned = rotation(torch.tensor([[0, 1, 2]]), RotationTable(torch.tensor([1.0, 0.5])), torch.float32)
    assert turned.shape == (2, 3, 1, 1, 2)
    angles = torch.tensor([[0.0, 0.0], [1.0, 0.5], [2.0, 1.0]])
    assert_close(turned[0, :, 0, 0], angles.cos())
    assert_close(turned[1, :, 0, 0], angles.sin())


def test_each_column_takes_its_own_axis_and_factor():
    positions = torch.tensor([[[1, 2]], [[3, 4]], [[5, 6]]])  # [axes, batch, seq]
    table = RotationTable(torch.ones(3), torch.tensor([1.0, 2.0, 1.0]), torch.tensor([0, 2, 1]))
    turned = rotation(positions, table, torch.float32)
    assert turned.shape == (2, 2, 1, 1, 3)
    angles = torch.tensor([[1.0, 5.0, 3.0], [2.0, 6.0, 4.0]])
    assert_close(turned[0, :, 0, 0], angles.cos() * torch.tensor([1.0, 2.0, 1.0]))
    assert_close(turned[1, :, 0, 0], angles.sin() * torch.tensor([1.0, 2.0, 1.0]))


def test_one_position_stands_for_all_axes():
    positions = torch.tensor([[0, 3, 7]])
    table = RotationTable(torch.rand(4), axes=torch.tensor([0, 1, 2, 0]))
    every = rotation(positions.expand(3, 1, 3), table, torch.float32)
    assert torch.equal(rotation(positions, table, torch.float32), every)
