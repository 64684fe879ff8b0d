"""Fresh towers: what is redrawn, and what is left alone."""

import pytest
import torch
from torch import nn
from transformers import AutoModel, Gemma4VisionConfig, SiglipVisionConfig

from components.vision.initialisation import STREAM_RMS, TABLE_STD, initialise_tower, is_constant

GEMMA4 = Gemma4VisionConfig(
    hidden_size=64, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
    head_dim=32, patch_size=8, position_embedding_size=64, standardize=True,
)  # fmt: skip
SIGLIP = SiglipVisionConfig(
    hidden_size=64, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=8
)


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_table_and_input_projection_are_redrawn_and_nothing_else() -> None:
    tower = AutoModel.from_config(GEMMA4)
    before = state(tower)
    assert is_constant(before["patch_embedder.position_embedding_table"])
    redrawn = initialise_tower(tower)
    assert redrawn == ("patch_embedder.position_embedding_table", "patch_embedder.input_proj.weight")
    assert {name for name, value in tower.state_dict().items() if not torch.equal(before[name], value)} == set(redrawn)
    table = tower.get_parameter("patch_embedder.position_embedding_table")
    assert float(table.std()) == pytest.approx(TABLE_STD, rel=0.05)
    assert len(torch.unique(table[0], dim=0)) == 64


def test_pixels_of_unit_size_enter_the_stream_at_its_size() -> None:
    tower = AutoModel.from_config(GEMMA4)
    initialise_tower(tower)
    written = tower.patch_embedder.input_proj(torch.randn(500, 192))
    assert float(written.square().mean().sqrt()) == pytest.approx(STREAM_RMS, rel=0.05)


def test_a_convolution_is_an_input_projection_too() -> None:
    tower = AutoModel.from_config(SIGLIP)
    (name,) = initialise_tower(tower)
    assert name.endswith("patch_embedding.weight")
    assert float(tower.get_parameter(name).std()) == pytest.approx(STREAM_RMS / 192**0.5, rel=0.05)


def test_numbers_follow_the_seed() -> None:
    towers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        tower = AutoModel.from_config(GEMMA4)
        initialise_tower(tower)
        towers.append(tower.get_parameter("patch_embedder.position_embedding_table"))
    assert torch.equal(towers[0], towers[1])
    assert not torch.equal(towers[0], towers[2])


def test_vectors_and_single_numbers_are_not_tables() -> None:
    module = nn.ParameterDict({"norm": torch.ones(8), "scalar": torch.ones(()), "one": torch.ones(1, 1)})
    assert initialise_tower(module) == ()
