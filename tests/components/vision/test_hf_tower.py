"""What is taken of a tower's output, and how its rows are counted."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from adapters.megatron import build, runtime
from components.build_error import BuildError
from components.vision.hf_tower import item_rows, num_items, own_items, run, shares_items
from components.vision.hf_tower_declaration import HfTower, HiddenStates, ItemRows
from tests.parity.shipped_spec import tiny_of

WIDTH, IMAGES, TOKENS = 16, 2, 5


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    return CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=8, patch_size=4)).eval()


@torch.no_grad()
@pytest.mark.parametrize("when", ["built", "cast later"])
def test_a_tower_of_any_precision_reads_float32_pixels(when):
    """As of a wrapper that casts the whole model: this tower does not cast what it reads."""
    graph = tiny_of("kimi_k25")
    dtype = torch.bfloat16 if when == "built" else torch.float32
    runtime.ensure()
    tower, section = build(graph, dtype=dtype).vision_tower.bfloat16(), graph.nodes["vision_tower"].config
    found = run(tower, section, pixel_values=torch.randn(8, 3, 4, 4), grid_thw=torch.tensor([[1, 2, 4]]))
    assert found.dtype == torch.bfloat16
    assert torch.isfinite(found).all()


def section(**more) -> HfTower:
    return HfTower(config={}, inputs={"pixel_values": ("image", 3, 8, 8)}, out_dim=WIDTH, **more)


@torch.no_grad()
@pytest.mark.parametrize("layers", [-2, (1, -1), 0])
def test_features_from_inside_lie_side_by_side(tower, layers):
    pixels = torch.randn(IMAGES, 3, 8, 8)
    features = run(tower, section(hidden_states=HiddenStates(layers)), pixel_values=pixels)
    states = tower(pixels, output_hidden_states=True).hidden_states
    chosen = [layers] if isinstance(layers, int) else layers
    assert torch.equal(features, torch.cat([states[layer] for layer in chosen], -1).flatten(0, 1))
    assert features.shape == (IMAGES * TOKENS, WIDTH * len(chosen))


def test_a_layer_that_is_not_there(tower):
    with pytest.raises(BuildError, match="has 3 layers; the spec takes \\[4\\]"):
        run(tower, section(hidden_states=HiddenStates(4)), pixel_values=torch.randn(1, 3, 8, 8))


def test_rows_are_counted_from_sizes():
    rule = ItemRows(sizes_in="image_sizes", patch=4)
    sizes = torch.tensor([[8, 12], [16, 4], [11, 7]])
    assert item_rows(section(item_rows=rule), 0, image_sizes=sizes).tolist() == [6, 4, 2]


def packed() -> HfTower:
    return HfTower(
        config={},
        inputs={"patches": ("patch", 3), "grids": ("item", 3)},
        out_dim=WIDTH,
        item_rows=ItemRows(grids_in="grids", merge=2),
    )


def test_items_are_cut_from_patches_in_a_row():
    grids = torch.tensor([[1, 2, 4], [2, 2, 2], [1, 4, 4]])
    patches = torch.arange(32)[:, None].expand(32, 3)
    given = {"patches": patches, "grids": grids}
    assert shares_items(packed())
    assert num_items(packed(), **given) == 3
    assert item_rows(packed(), 0, **given).tolist() == [2, 2, 4]
    own = own_items(packed(), slice(1, 3), **given)
    assert own["patches"][:, 0].tolist() == list(range(8, 32))
    assert own["grids"].tolist() == grids[1:].tolist()
    assert own_items(packed(), slice(0, 0), **given)["patches"].shape == (0, 3)


def test_patches_that_grids_do_not_count_are_refused(tower):
    with pytest.raises(BuildError, match="patches holds 7 patches, and grids counts 8"):
        run(tower, packed(), patches=torch.zeros(7, 3), grids=torch.tensor([[1, 2, 4]]))
