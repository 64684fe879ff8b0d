"""A YAML document as a tree in which every value knows where it was written."""

from collections.abc import Iterator
from typing import Any

from attrs import define, evolve

from composer.errors import Location
from composer.path import Path, format_path


class Unresolved:
    """What stands where no value could be found; that was reported, and no later step reports it again."""

    def __repr__(self) -> str:
        """Shown only in a debugger."""
        return "UNRESOLVED"


UNRESOLVED = Unresolved()


@define
class Tree:
    """One value of a document and the position it was written at (from 1).

    `value` is a scalar, a dict of trees or a list of trees; where `hf` names the field of the Hugging Face
    configuration that the value was read from (`hf.text_config`), it is plain data of any depth. `inset` is the number
    of columns from the position to the first character of a text that is written as it reads, on one line.
    """

    value: Any
    file: str
    line: int
    column: int
    key: tuple[int, int] | None = None
    hf: str | None = None
    inset: int | None = None

    @property
    def location(self) -> Location:
        """Where the value is written."""
        return Location(self.file, self.line, self.column)

    @property
    def key_location(self) -> Location:
        """Where the value's key is written; of an item of a list, the item."""
        return Location(self.file, *(self.key or (self.line, self.column)))

    def character(self, index: int) -> Location | None:
        """Where a character of a text is written; None if the text is not written as it reads."""
        return None if self.inset is None else Location(self.file, self.line, self.column + self.inset + index)

    @property
    def origin(self) -> str:
        """Where the value came from: `file:line`, `--set path=value` or `hf.field`."""
        return self.hf or (self.file if self.location.on_command_line else f"{self.file}:{self.line}")

    @property
    def is_mapping(self) -> bool:
        """True if the children have names."""
        return type(self.value) is dict

    @property
    def is_sequence(self) -> bool:
        """True if the children stand in a row."""
        return type(self.value) is list

    def children(self) -> Iterator[tuple[str | int, "Tree"]]:
        """Name or index of each child, and the child."""
        pairs = self.value.items() if self.is_mapping else enumerate(self.value) if self.is_sequence else ()
        if self.hf is None:
            yield from pairs
        else:
            for step, value in pairs:
                yield step, evolve(self, value=value, hf=self.hf + format_path((step,), after_name=True))

    def child(self, step: str | int) -> "Tree | None":
        """The child of that name or index, if there is one."""
        if self.hf is None and self.is_mapping:
            named: Tree | None = self.value.get(step)
            return named
        return dict(self.children()).get(step)

    def become(self, other: "Tree") -> None:
        """Take the value and the place of another tree."""
        self.value, self.hf, self.inset = other.value, other.hf, other.inset
        self.file, self.line, self.column = other.file, other.line, other.column

    def with_value(self, value: Any) -> "Tree":
        """Another value at the same place."""
        return Tree(value, self.file, self.line, self.column, self.key, self.hf)

    def locate(self, path: Path) -> Location:
        """Where a path is written; of something that is not, where the thing it belongs to starts."""
        tree, depth = self.nearest(path)
        return tree.location if depth == len(path) and not tree.is_mapping else tree.key_location

    def nearest(self, path: Path) -> tuple["Tree", int]:
        """The deepest tree on the way to a path, and how many of its steps lead there."""
        tree = self
        for depth, step in enumerate(path):
            child = tree.child(step)
            if child is None:
                return tree, depth
            tree = child
        return tree, len(path)

    def plain(self) -> Any:
        """The data without positions; shares nothing mutable with the tree's own data."""
        if self.is_mapping:
            return {key: child.plain() for key, child in self.children()}
        if self.is_sequence:
            return [child.plain() for _, child in self.children()]
        return self.value
