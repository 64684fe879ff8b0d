"""`projector.tiles`: feature rows of tiles to feature rows of whole pictures.

Legend: N feature rows of all tiles, T tiles, R rows of one tile, I pictures, M feature rows of all pictures, H width.
"""

import math

import torch
from torch import Tensor, nn

from components.build_error import BuildError
from components.context import BuildContext
from components.projector.tiles_declaration import Tiles
from components.tiling import unpadded


class PictureRows(nn.Module):
    """Rows of pictures, chosen among those of their tiles and the row that ends a line."""

    def __init__(self, section: Tiles, dtype: torch.dtype) -> None:
        super().__init__()
        line_end = torch.randn(section.out_dim, dtype=dtype) / math.sqrt(section.out_dim) if section.newline else None
        self.image_newline = None if line_end is None else nn.Parameter(line_end)

    def forward(self, features: Tensor, chosen: Tensor) -> Tensor:
        """[N, H] and [M] int64, N for the row that ends a line, to [M, H]."""
        if self.image_newline is None:
            return features[chosen]
        return torch.cat([features, self.image_newline[None].to(features.dtype)])[chosen]


def build(section: Tiles, context: BuildContext) -> PictureRows:
    """In `params_dtype`; the row that ends a line starts as large as an embedding."""
    return PictureRows(section, context.transformer.params_dtype)


def run(module: nn.Module, section: Tiles, item_rows: Tensor, **inputs: Tensor) -> Tensor:
    """Put pictures together.

    Args:
        module: from `build`.
        section: of the spec.
        item_rows: [T] int64, rows of each tile.
        inputs: features [N, H] as `in`; heights and widths of the pictures [I, 2] int64 as `sizes`.

    Returns:
        [M, H]: of each picture the base tile's rows, then the grid's, line by line, padding left out.

    Raises:
        BuildError: tiles that are no squares of equally many rows, or another number of them than the sizes ask for.

    Source: transformers 5.23 models/llava_next/modeling_llava_next.py, LlavaNextModel.pack_image_features.
    """
    features, sizes = inputs["in"], inputs["sizes"].tolist()
    side = _side(item_rows, sum(section.tiling.tiles(*size) for size in sizes))
    chosen, first = [], 0
    for size in sizes:
        chosen.append(_picture(section, size, side, first, features.shape[0]))
        first += section.tiling.tiles(*size) * side**2
    picked: Tensor = module(features, torch.cat(chosen).to(features.device))
    return picked


def rows_after(section: Tiles, item_rows: Tensor, **inputs: Tensor) -> Tensor:
    """Rows of each picture: [I] int64, from those of each tile and the sizes."""
    side = math.isqrt(int(item_rows[0]))
    counts = []
    for height, width in inputs["sizes"].tolist():
        rows, columns = section.tiling.grid(height, width)
        lines, places = unpadded(height, width, rows * side, columns * side)
        counts.append(side**2 + (lines.stop - lines.start) * (places.stop - places.start + section.newline))
    return torch.tensor(counts, device=item_rows.device)


def _side(item_rows: Tensor, wanted: int) -> int:
    """Of the square of rows that every tile is."""
    counts = item_rows.tolist()
    if len(counts) != wanted:
        raise BuildError(f"{len(counts)} tiles were encoded, and by their sizes the pictures have {wanted}")
    side = math.isqrt(counts[0])
    if set(counts) != {side**2}:
        raise BuildError(f"tiles of {', '.join(map(str, sorted(set(counts))))} rows: squares of one size are expected")
    return side


def _picture(section: Tiles, size: list[int], side: int, first: int, line_end: int) -> Tensor:
    """Which of all rows make a picture, on the CPU; `first` is that of its first tile."""
    height, width = size
    rows, columns = section.tiling.grid(height, width)
    base = torch.arange(first, first + side**2)
    grid = torch.arange(rows * columns * side**2) + first + side**2
    grid = grid.view(rows, columns, side, side).transpose(1, 2).reshape(rows * side, columns * side)
    grid = grid[unpadded(height, width, rows * side, columns * side)]
    if section.newline:
        grid = torch.cat([grid, grid.new_full((grid.shape[0], 1), line_end)], dim=1)
    return torch.cat([base, grid.flatten()])
