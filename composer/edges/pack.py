"""What a data edge may do to feature rows on the way."""

from collections.abc import Iterator

from attrs import field, frozen

from composer.finding import Finding


@frozen
class Pack:
    """One operation on the rows of every item (an image, say); exactly one key says which."""

    drop_first: int | None = field(
        default=None,
        metadata={"description": "How many rows to leave out at the beginning of every item: a class token is 1."},
    )
    pixel_shuffle: float | None = field(
        default=None,
        metadata={
            "description": "Rows of an item are a square grid; blocks of it become one row each, features side by "
            "side, line by line. New over old side of the grid: 0.5 makes one row of 2 x 2."
        },
    )

    def __str__(self) -> str:
        if self.drop_first is not None:
            return f"drop first {self.drop_first}"
        return f"pixel shuffle {self.pixel_shuffle}"

    @property
    def block(self) -> int:
        """Side of the block of rows that becomes one row; 1 if none does, or if the ratio is none."""
        ratio = self.pixel_shuffle
        return round(1 / ratio) if ratio is not None and 0 < ratio < 1 else 1

    @property
    def width_factor(self) -> int:
        """How many times as wide a row gets."""
        return self.block**2

    def check(self, path: str) -> Iterator[Finding]:
        """One key, with a value that there is."""
        given = [name for name in ("drop_first", "pixel_shuffle") if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "nothing"
            yield Finding(path, f"one operation is expected, not {said}. Give each an entry of its own, in order.")
            return
        if self.drop_first is not None and self.drop_first < 1:
            yield Finding(f"{path}.drop_first", f"{self.drop_first} rows cannot be dropped: 1 or more is expected.")
        ratio = self.pixel_shuffle
        if ratio is not None and not (0 < ratio < 1 and abs(1 / ratio - round(1 / ratio)) < 1e-6):
            message = f"{ratio} is no ratio of grid sides: 1/2, 1/3, 1/4, ... is expected."
            yield Finding(f"{path}.pixel_shuffle", message)
