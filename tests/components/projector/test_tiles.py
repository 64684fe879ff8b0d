"""Pictures put together from tiles, row by row, and refused where they do not fit."""

import pytest
import torch
from torch import nn

from components.build_error import BuildError
from components.projector import tiles
from components.projector.tiles_declaration import Tiles
from components.tiling import Tiling

TILING = Tiling(((6, 12), (12, 6), (12, 12)), 6)
SIDE = 2  # rows of a tile's side


def together(sizes: list[list[int]], *, newline: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's feature is its own number, and -1 ends a line."""
    section = Tiles(TILING, 1, newline)
    module = tiles.PictureRows(section, torch.float32)
    if newline:
        nn.init.constant_(module.image_newline, -1.0)
    count = sum(TILING.tiles(*size) for size in sizes)
    features = torch.arange(float(count * SIDE**2))[:, None]
    given = {"in": features, "sizes": torch.tensor(sizes)}
    item_rows = torch.full((count,), SIDE**2)
    with torch.no_grad():
        rows = tiles.run(module, section, item_rows, **given)
    return rows[:, 0], tiles.rows_after(section, item_rows, **given)


def test_the_base_tile_then_lines_over_all_tiles():
    rows, counts = together([[6, 12], [12, 6]])
    one = [0, 1, 2, 3, 4, 5, 8, 9, -1, 6, 7, 10, 11, -1]
    other = [12, 13, 14, 15, 16, 17, -1, 18, 19, -1, 20, 21, -1, 22, 23, -1]
    assert rows.tolist() == [*one, *other]
    assert counts.tolist() == [len(one), len(other)]


def test_padding_is_left_out():
    rows, counts = together([[7, 12]])
    # Two lines of four are 7 / 12 of a square of four; one line each is padding above and below.
    assert rows.tolist() == [0, 1, 2, 3, 6, 7, 10, 11, -1, 12, 13, 16, 17, -1]
    assert counts.tolist() == [len(rows)]


def test_lines_without_an_end():
    rows, counts = together([[6, 12]], newline=False)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 6, 7, 10, 11]
    assert counts.tolist() == [12]


@pytest.mark.parametrize(
    ("item_rows", "expected"),
    [
        ([4, 4], "2 tiles were encoded, and by their sizes the pictures have 3"),
        ([4, 4, 9], "tiles of 4, 9 rows: squares of one size are expected"),
        ([5, 5, 5], "tiles of 5 rows: squares of one size are expected"),
    ],
)
def test_tiles_that_do_not_fit(item_rows, expected):
    section = Tiles(TILING, 1)
    given = {"in": torch.zeros(sum(item_rows), 1), "sizes": torch.tensor([[6, 12]])}
    with pytest.raises(BuildError, match=expected):
        tiles.run(tiles.PictureRows(section, torch.float32), section, torch.tensor(item_rows), **given)
