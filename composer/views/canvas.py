"""A sheet of characters on which lines join where they meet."""

from collections.abc import Iterator

from attrs import define, field

_NORTH, _SOUTH, _EAST, _WEST = 1, 2, 4, 8
_JOINTS = " ╵╷│╶└┌├╴┘┐┤─┴┬┼"


@define
class Canvas:
    """Characters with a style each, by row and column; lines are kept as directions until they are read."""

    _words: dict[tuple[int, int], tuple[str, str]] = field(factory=dict, init=False)
    _lines: dict[tuple[int, int], tuple[int, str]] = field(factory=dict, init=False)

    def write(self, row: int, column: int, words: str, style: str = "") -> None:
        """Put text; it hides lines."""
        for offset, letter in enumerate(words):
            self._words[row, column + offset] = (letter, style)

    def vertical(self, column: int, first: int, last: int, style: str) -> None:
        """A line from the middle of one row to the middle of another below it."""
        for row in range(first, last + 1):
            self._join(row, column, _NORTH * (row > first) | _SOUTH * (row < last), style)

    def horizontal(self, row: int, first: int, last: int, style: str) -> None:
        """A line from the middle of one column to the middle of another."""
        first, last = min(first, last), max(first, last)
        for column in range(first, last + 1):
            self._join(row, column, _WEST * (column > first) | _EAST * (column < last), style)

    def rows(self) -> Iterator[list[tuple[str, str]]]:
        """Each row as pieces of text with their style, without trailing space."""
        drawn = {place: (_JOINTS[ways], style) for place, (ways, style) in self._lines.items()} | self._words
        by_row: dict[int, dict[int, tuple[str, str]]] = {}
        for (row, column), cell in drawn.items():
            by_row.setdefault(row, {})[column] = cell
        for row in range(max(by_row, default=-1) + 1):
            cells = by_row.get(row, {})
            yield [cells.get(column, (" ", "")) for column in range(max(cells, default=-1) + 1)]

    def _join(self, row: int, column: int, ways: int, style: str) -> None:
        before, _ = self._lines.get((row, column), (0, ""))
        self._lines[row, column] = (before | ways, style)
