"""Pictures as patches with positions, for towers that read patches (Gemma 4 and its kin).

Legend: P patches of a picture, p patch side in pixels, D = 3·p·p, k pooling side in patches.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from attrs import frozen
from PIL import Image
from torch import Tensor

from adapters.training.picture_file import use_picture
from adapters.training.settings import PictureSettings


@frozen(eq=False)
class Patches:
    """values: [P, D] float32 in 0..1, pixel by pixel, colours innermost; positions: [P, 2] int64, column and row.

    features: feature rows the tower makes of them, P / k².
    """

    values: np.ndarray
    positions: np.ndarray
    features: int


@frozen
class PatchGrid:
    """Turns pictures into patches. patch_px: p; pool: k; pictures: limits and resizing."""

    patch_px: int
    pool: int
    pictures: PictureSettings

    @property
    def patch_dim(self) -> int:
        return 3 * self.patch_px**2

    def read(self, path: Path, where: str) -> Patches:
        """Read a picture file.

        Raises:
            DataError: no such picture, or no picture; starts with `where`.
        """
        return use_picture(path, where, self.cut)

    def count_features(self, path: Path, where: str) -> int:
        """Feature rows of a picture file, from its header alone.

        Raises:
            DataError: as `read`.
        """
        return use_picture(path, where, lambda image: self._features(*self.size(image.width, image.height)))

    def cut(self, image: Image.Image) -> Patches:
        """Resize a picture to whole pooling windows and cut it into patches, row by row.

        Raises:
            ValueError: the picture is too long and thin for `max_features`.

        Source: what transformers 5.23 models/gemma4/image_processing_pil_gemma4.py does to a picture.
        """
        image = image.convert("RGB")
        width, height = self.size(image.width, image.height)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        p = self.patch_px
        rows, columns = height // p, width // p
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255)  # [height, width, 3]
        values = pixels.reshape(rows, p, columns, p, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
        row, column = np.divmod(np.arange(rows * columns), columns)
        return Patches(values, np.stack([column, row], axis=-1), self._features(width, height))

    def _features(self, width_px: int, height_px: int) -> int:
        return width_px * height_px // (self.pool * self.patch_px) ** 2

    def size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height in pixels after resizing: whole pooling windows, about the same shape, within the limit."""
        window = self.pool * self.patch_px
        limit = self.pictures.max_features
        scale = math.sqrt(limit * window**2 / (width_px * height_px))
        if self.pictures.resize == "shrink":
            scale = min(scale, 1.0)
        columns, rows = (max(1, math.floor(scale * side / window)) for side in (width_px, height_px))
        if columns * rows > limit:  # one side was below a window and has become one
            columns, rows = min(columns, limit), min(rows, limit)
        return columns * window, rows * window

    def stack(self, pictures: Sequence[Patches]) -> dict[str, Tensor]:
        """Inputs of the model by name, padded to the largest of N pictures; nothing without pictures.

        pixel_values: [N, P, D] float32, 0 at padding; image_position_ids: [N, P, 2] int64, -1 there.
        """
        if not pictures:
            return {}
        most = max(len(picture.values) for picture in pictures)
        values = torch.zeros(len(pictures), most, pictures[0].values.shape[1])
        positions = torch.full((len(pictures), most, 2), -1)
        for index, picture in enumerate(pictures):
            values[index, : len(picture.values)] = torch.from_numpy(picture.values)
            positions[index, : len(picture.positions)] = torch.from_numpy(picture.positions)
        return {"pixel_values": values, "image_position_ids": positions}
