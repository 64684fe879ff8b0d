"""Pictures of one size, for towers that read whole pictures (CLIP, SigLIP, DINOv2).

Legend: N pictures, H and W the tower's height and width in pixels.
"""

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
class WholePicture:
    """values: [3, H, W] float32, normalised; features: feature rows the model makes of it."""

    values: np.ndarray
    features: int


@frozen
class PixelGrid:
    """Brings pictures to the tower's size. features: rows of each, whatever it shows; pictures: how it is resized."""

    height_px: int
    width_px: int
    features: int
    pictures: PictureSettings

    def read(self, path: Path, where: str) -> WholePicture:
        """Read a picture file.

        Raises:
            DataError: no such picture, or no picture; starts with `where`.
        """
        return use_picture(path, where, self.cut)

    def count_features(self, path: Path, where: str) -> int:
        """Feature rows of a picture file; the same for all."""
        del path, where
        return self.features

    def cut(self, image: Image.Image) -> WholePicture:
        """Resize a picture and normalise its colours.

        Source: what transformers 5.23 models/siglip/image_processing_pil_siglip.py does to a picture (`stretch`).
        """
        image = self._resized(image.convert("RGB"))
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255)  # [H, W, 3]
        mean, std = (np.asarray(each, dtype=np.float32) for each in (self.pictures.mean, self.pictures.std))
        return WholePicture(((pixels - mean) / std).transpose(2, 0, 1), self.features)

    def _resized(self, image: Image.Image) -> Image.Image:
        size = (self.width_px, self.height_px)
        if self.pictures.fit == "stretch":
            return image.resize(size, Image.Resampling.BICUBIC)
        scale = min(self.width_px / image.width, self.height_px / image.height)
        width, height = (max(1, round(side * scale)) for side in image.size)
        whole = Image.new("RGB", size, tuple(round(255 * each) for each in self.pictures.mean))
        corner = ((self.width_px - width) // 2, (self.height_px - height) // 2)
        whole.paste(image.resize((width, height), Image.Resampling.BICUBIC), corner)
        return whole

    def stack(self, pictures: Sequence[WholePicture]) -> dict[str, Tensor]:
        """Inputs of the model by name: pixel_values [N, 3, H, W] float32; nothing without pictures."""
        if not pictures:
            return {}
        return {"pixel_values": torch.from_numpy(np.stack([picture.values for picture in pictures]))}
