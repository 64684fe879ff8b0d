"""Named dimensions: numbers fix them, edges make them equal.

A name means one size among all inputs of the spec, and one size among all ports of a node; two nodes may use one name
for different sizes.
"""

from attrs import field, frozen, mutable

type Key = tuple[str, str]  # owner ("" for the spec's inputs), name


@frozen
class Size:
    """A number and the path that set it."""

    number: int
    path: str


@frozen
class Clash:
    """Two numbers for one dimension."""

    left: Size
    right: Size


@mutable
class Dimensions:
    """Union-find over dimension names, with at most one size per set."""

    _parent: dict[Key, Key] = field(factory=dict, init=False)
    _size: dict[Key, Size] = field(factory=dict, init=False)

    def unify(self, left: Key | Size, right: Key | Size) -> Clash | None:
        """Make two dimensions one; if both have a size already and the sizes differ, they stay two."""
        left, right = self._find(left), self._find(right)
        a, b = self.size(left), self.size(right)
        if a and b and a.number != b.number:
            return Clash(a, b)
        if isinstance(left, Size):
            left, right = right, left
        if isinstance(left, Size) or left == right:
            return None
        if isinstance(right, Size):
            self._size.setdefault(left, right)
            return None
        self._parent[left] = right
        if a and not b:
            self._size[right] = a
        return None

    def size(self, dimension: Key | Size) -> Size | None:
        """The size of a dimension, if anything fixes it."""
        if isinstance(dimension, Size):
            return dimension
        root = self._find(dimension)
        return root if isinstance(root, Size) else self._size.get(root)

    def _find(self, dimension: Key | Size) -> Key | Size:
        if isinstance(dimension, Size):
            return dimension
        root = dimension
        while (parent := self._parent.get(root)) is not None:
            root = parent
        while dimension != root:  # shorten the way for the next time
            self._parent[dimension], dimension = root, self._parent[dimension]
        return root
