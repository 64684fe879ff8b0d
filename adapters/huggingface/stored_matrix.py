"""A tensor on disk as a matrix, so that parts of it are plain rectangles.

Legend: lines and columns are those of the matrix; all dimensions but the last are its lines (of tensors with four and
more dimensions, which no rank shares, only the first).
"""

from collections.abc import Iterator
from math import prod

from attrs import frozen


@frozen(order=True)
class Place:
    """Lines `first` to `last` and columns `left` to `right` of a stored tensor."""

    first: int
    last: int
    left: int
    right: int


@frozen
class Matrix:
    """Lines and width of a stored tensor, and how many lines one index of its first dimension has."""

    shape: tuple[int, ...]
    lines: int
    width: int
    inner: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Matrix":
        """The matrix of a tensor of this shape; a vector is one column."""
        rows, inner, width = dimensions(shape)
        return cls(shape, rows * inner, width, inner)

    def blocks(self, first: int, last: int, max_values: int) -> Iterator[tuple[int, int]]:
        """Cut lines first to last into blocks of at most `max_values`, or one line.

        A block is whole indices of the first dimension or lies within one, so that `index` can name it. Ranks that
        share these lines column by column cut them alike.
        """
        step = max(1, max_values // max(1, self.width))
        while first < last:
            end = min(first + step, last)
            if first % self.inner == 0 and end - first >= self.inner:
                end -= end % self.inner
            else:
                end = min(end, (first // self.inner + 1) * self.inner)
            yield first, end
            first = end

    def index(self, first: int, last: int, left: int, right: int) -> tuple[slice, ...]:
        """A block, and some columns of it, as an index of the tensor; the shape has at least one dimension."""
        if len(self.shape) == 2:
            return slice(first, last), slice(left, right)
        if len(self.shape) != 3:
            return (slice(first, last),)
        outer, start = divmod(first, self.inner)
        if start == 0 and last % self.inner == 0:
            return slice(outer, last // self.inner), slice(0, self.inner), slice(left, right)
        return slice(outer, outer + 1), slice(start, start + last - first), slice(left, right)


def dimensions(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Indices of the first dimension, lines in each, width of a line."""
    match shape:
        case ():
            return 1, 1, 1
        case (rows,):
            return rows, 1, 1
        case (rows, width):
            return rows, 1, width
        case (rows, inner, width):
            return rows, inner, width
        case _:
            return shape[0], 1, prod(shape[1:])
