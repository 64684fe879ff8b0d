"""A projector that reads items: as many rows of each as the spec says, or a refusal."""

import pytest
import torch
from attrs import evolve
from torch import nn

from components.build_error import BuildError
from components.projector import hf_module
from components.projector.hf_module_declaration import HfModule


class HalfOfEach(nn.Module):
    """The first half of every item's rows."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, : features.shape[1] // 2]


SECTION = HfModule(class_name="HalfOfEach", args=(), out_dim=1, rows=2)


def run(section: HfModule, item_rows: list[int]) -> list[float]:
    features = torch.arange(float(sum(item_rows)))[:, None]
    made = hf_module.run(HalfOfEach(), section, torch.tensor(item_rows), **{"in": features})
    return made[:, 0].tolist()


def test_rows_of_items():
    assert run(SECTION, [4, 4, 4]) == [0, 1, 4, 5, 8, 9]
    assert hf_module.rows_after(SECTION, torch.tensor([4, 4, 4])).tolist() == [2, 2, 2]


def test_items_that_differ():
    with pytest.raises(BuildError, match="reads items of equally many rows, and they have between 2 and 6"):
        run(SECTION, [2, 6])


def test_another_number_of_rows_than_said():
    with pytest.raises(BuildError, match="makes 2 rows of every item, the spec says rows: 3"):
        run(evolve(SECTION, rows=3), [4, 4])
