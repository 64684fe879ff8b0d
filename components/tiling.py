"""Pictures cut into tiles: which grid of tiles a picture is fitted into, and what of it is padding (torch-free).

Pictures are scaled, as large as fits, into one of a list of canvases, padded evenly on two sides, and cut into square
tiles; a small copy of the whole picture is one tile more, the base tile, and comes first.
Source: transformers 5.23 image_processing_utils.py (select_best_resolution), models/llava_next/modeling_llava_next.py
(get_anyres_image_grid_shape, image_size_to_num_patches, unpad_image).
"""

from collections.abc import Iterator

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import whole


@frozen
class Tiling:
    """How pictures are cut into tiles."""

    canvases: tuple[tuple[int, ...], ...] = field(
        metadata={"description": "Sizes that pictures are fitted into: height and width, in pixels."}
    )
    tile_px: int = field(metadata={"description": "Side of a tile, in pixels; divides every side of the canvases."})

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tiles of a picture, from its size in pixels before it was scaled; no base tile."""
        rows, columns = self._canvas(height, width)
        return rows // self.tile_px, columns // self.tile_px

    def tiles(self, height: int, width: int) -> int:
        """All tiles of a picture, the base tile among them."""
        rows, columns = self.grid(height, width)
        return rows * columns + 1

    def check(self, path: str) -> Iterator[Finding]:
        """Canvases that tiles fill."""
        yield from whole(f"{path}.tile_px", self.tile_px)
        if not self.canvases:
            yield Finding(f"{path}.canvases", "no canvas is given: there would be no tiles.")
        for number, canvas in enumerate(self.canvases):
            where = f"{path}.canvases[{number}]"
            if len(canvas) != 2:
                yield Finding(where, f"{list(canvas)} is no size: [height, width] is expected.")
            elif self.tile_px > 0 and any(side < 1 or side % self.tile_px for side in canvas):
                message = f"tiles of {self.tile_px} pixels ({{0}}) do not fill {list(canvas)}."
                yield Finding(where, message, (f"{path}.tile_px",))

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        """Where most of the picture's pixels stay; of several such, the smallest; of several such, the first.

        Scales are floats as in the source: where one is a hair short, a row of pixels counts less, and that decides.
        """

        def worth(canvas: tuple[int, ...]) -> tuple[int, int]:
            scale = min(canvas[1] / width, canvas[0] / height)
            kept = min(int(width * scale) * int(height * scale), height * width)
            return kept, -canvas[0] * canvas[1]

        rows, columns = max(self.canvases, key=worth)
        return rows, columns


def unpadded(height: int, width: int, rows: int, columns: int) -> tuple[slice, slice]:
    """Rows and columns of a grid [rows, columns] that a picture [height, width] covers, the rest being padding.

    A padding of an odd number leaves one line of it in the picture. Whole numbers throughout: the source divides
    floats and rounds to seven digits, which is the same for any picture of less than ten million pixels a side.
    """
    if width * rows > columns * height:
        padding = (rows - height * columns // width) // 2
        return slice(padding, rows - padding), slice(0, columns)
    padding = (columns - width * rows // height) // 2
    return slice(0, rows), slice(padding, columns - padding)
