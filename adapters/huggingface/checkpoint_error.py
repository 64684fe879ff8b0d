"""Everything wrong between a checkpoint and a model, said at once."""

from collections.abc import Iterable
from pathlib import Path


class CheckpointError(Exception):
    """A checkpoint that cannot be read, or that does not fit the model.

    Attributes:
        problems: one line each; the message shows all of them.
    """

    def __init__(self, source: str | Path, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{source}: " + (self.problems[0] if count == 1 else f"{count} problems")
        super().__init__("\n  ".join([head, *self.problems]) if count > 1 else head)
