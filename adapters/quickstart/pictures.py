"""Pictures of numbers: two to four handwritten digits side by side, dark ink on light paper."""

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen

from adapters.quickstart.digits import SIDE_PX, Digits

CELL_PX = 32  # a digit's 28 pixels and room to move; a multiple of the tower's patch times pool


@frozen(eq=False)
class NumberPicture:
    """pixels: [32, 32 · digits] uint8 grey, paper 255; number: what it shows; rows: each digit's row in the file."""

    pixels: np.ndarray
    number: str
    rows: tuple[int, ...]


def draw_number(digits: Digits, sources: Sequence[int], generator: np.random.Generator) -> NumberPicture:
    """Tile the given images left to right, each moved by a pixel or two within its cell."""
    picture = np.zeros((CELL_PX, CELL_PX * len(sources)), dtype=np.uint8)
    room = CELL_PX - SIDE_PX + 1
    for cell, source in enumerate(sources):
        top, left = generator.integers(0, room, size=2)
        left += cell * CELL_PX
        picture[top : top + SIDE_PX, left : left + SIDE_PX] = digits.pixels[source]
    number = "".join(str(int(digits.classes[source])) for source in sources)
    return NumberPicture(255 - picture, number, tuple(int(digits.rows[source]) for source in sources))


def draw_numbers(digits: Digits, count: int, lengths: Sequence[int], seed: int) -> Iterator[NumberPicture]:
    """Yield `count` pictures; every length comes up equally often, in turn, and no number starts with zero.

    Given the length, all numbers without a leading zero are equally likely, so that a guess is right with
    probability `chance(length)`.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(digits.classes == value) for value in range(10)]
    for index in range(count):
        length = lengths[index % len(lengths)]
        values = [generator.integers(1, 10), *generator.integers(0, 10, size=length - 1)]
        yield draw_number(digits, [int(generator.choice(members[value])) for value in values], generator)


def chance(length: int) -> float:
    """How often a guess of a number of that many digits is right."""
    return 1 / (9 * 10 ** (length - 1))
