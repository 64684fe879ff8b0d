"""Grids and paddings against transformers' own, over sizes whose choice hangs by a hair."""

import pytest
import torch
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from components.tiling import Tiling, unpadded

TILE = 336
CANVASES = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
MIRRORED = ((672, 336), (336, 672))  # squares fit both as well: the first is taken
SIZES = [
    *(
        (height, width)
        for height in (1, 7, 49, 335, 336, 337, 500, 672, 1008, 3000)
        for width in (3, 49, 336, 671, 1009)
    ),
    *((size, size) for size in (1, 10, 100, 336, 337, 640, 671, 673, 2000)),
]


@pytest.mark.parametrize("canvases", [CANVASES, MIRRORED, ((1, 1), (2, 3))])
def test_grids_and_counts(canvases):
    tile = 1 if canvases[0] == (1, 1) else TILE
    tiling = Tiling(canvases, tile)
    listed = [list(canvas) for canvas in canvases]
    compared = 0
    for size in SIZES:
        try:
            expected = get_anyres_image_grid_shape(size, listed, tile)
        except TypeError:  # no canvas keeps a single pixel: transformers finds none
            continue
        assert tiling.grid(*size) == expected, size
        assert tiling.tiles(*size) == image_size_to_num_patches(size, listed, tile), size
        compared += 1
    assert compared > 10


def test_of_two_canvases_that_fit_as_well_the_first_is_taken():
    assert Tiling(MIRRORED, TILE).grid(500, 500) == (2, 1)
    assert Tiling(MIRRORED[::-1], TILE).grid(500, 500) == (1, 2)


@pytest.mark.parametrize("grid", [(24, 48), (48, 48), (72, 24), (7, 7), (5, 9)])
def test_paddings(grid):
    rows, columns = grid
    numbers = torch.arange(rows * columns).view(1, rows, columns)
    for size in SIZES:
        expected = unpad_image(numbers, size)
        found = numbers[0][unpadded(*size, rows, columns)]
        assert torch.equal(found, expected[0]), size
