"""Numbers that are not known exactly."""

from collections.abc import Iterable

from attrs import frozen


@frozen
class Interval:
    """low ≤ likely ≤ high."""

    low: float
    likely: float
    high: float

    @classmethod
    def exact(cls, value: float) -> "Interval":
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def total(cls, parts: Iterable["Interval"]) -> "Interval":
        """Sum of parts that are all low, or all high, at once."""
        known = tuple(parts)
        return cls(sum(p.low for p in known), sum(p.likely for p in known), sum(p.high for p in known))

    def __add__(self, other: "Interval") -> "Interval":
        """Both, end by end."""
        return Interval(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, factor: float) -> "Interval":
        """So many times; the factor is not negative."""
        return Interval(self.low * factor, self.likely * factor, self.high * factor)
