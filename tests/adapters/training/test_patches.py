"""Pictures as patches: the same numbers as transformers' own processor, and what it does not offer."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from adapters.training.patches import PatchGrid
from adapters.training.problems import DataError
from adapters.training.settings import PictureSettings


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("size", "patch", "pool", "budget"),
    [
        ((100, 60), 16, 3, 70),
        ((37, 501), 16, 3, 70),
        ((400, 400), 8, 2, 140),
        ((3000, 11), 16, 3, 70),
        ((64, 48), 8, 1, 70),
    ],
)
def test_filled_pictures_equal_those_of_transformers(size: tuple[int, int], patch: int, pool: int, budget: int) -> None:
    processor = Gemma4ImageProcessorPil(patch_size=patch, max_soft_tokens=budget, pooling_kernel_size=pool)
    expected = processor(picture(*size), return_tensors="np")
    found = PatchGrid(patch, pool, PictureSettings(max_features=budget)).cut(picture(*size))
    real = (expected["image_position_ids"][0] >= 0).all(-1)
    assert found.features == int(expected["num_soft_tokens_per_image"][0]) == int(real.sum()) // pool**2
    np.testing.assert_array_equal(found.positions, expected["image_position_ids"][0][real])
    np.testing.assert_allclose(found.values, expected["pixel_values"][0][real], rtol=0, atol=1e-6)


def test_shrink_keeps_a_picture_that_fits_as_it_is() -> None:
    grid = PatchGrid(8, 2, PictureSettings(max_features=16, resize="shrink"))
    for size in ((96, 32), (32, 32), (16, 16)):
        assert grid.size(*size) == size
    pixels = np.asarray(picture(96, 32), dtype=np.float32) / 255
    patches = grid.cut(picture(96, 32))
    assert patches.features == 12
    for value, (column, row) in zip(patches.values, patches.positions, strict=True):
        window = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        np.testing.assert_allclose(value, window.reshape(-1), atol=1e-7)


def test_shrink_obeys_the_limit(tmp_path: Path) -> None:
    grid = PatchGrid(8, 2, PictureSettings(max_features=16, resize="shrink"))
    for size in [(500, 300), (7, 9000), (16, 16), (3, 3)]:
        picture(*size).save(tmp_path / "picture.png")
        patches = grid.read(tmp_path / "picture.png", "here:1")
        assert grid.count_features(tmp_path / "picture.png", "here:1") == patches.features
        assert 1 <= patches.features <= 16
        assert len(patches.values) == 4 * patches.features


def test_unreadable_pictures_are_named(tmp_path: Path) -> None:
    grid = PatchGrid(8, 2, PictureSettings())
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "absent.png"):
        with pytest.raises(DataError, match=rf"^here:3: .*{name}"):
            grid.read(tmp_path / name, "here:3")
