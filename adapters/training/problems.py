"""What can be wrong with a training run's inputs."""

from collections.abc import Iterable
from typing import Literal

from attrs import frozen


class TrainingError(Exception):
    """Settings, data or tokenizer do not fit the model; the message has one line per problem."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(TrainingError):
    """A sample of the data folder cannot be used; the message starts with its file and line."""


NOT_AGAIN = (
    "Computed once more, no single number is infinite or NaN: a sum of gradients is out of range, or the step does not "
    "repeat (dropout, hardware)."
)


@frozen
class Finding:
    """Where a number first stopped being finite.

    rank: global; data_rank: which share of the global batch it read; micro_batch: index in that share, from 0; node: of
    the spec; module: path in the model, decoder layers counted over all pipeline stages from 0; kind: what is wrong:
    `output`, `input <argument>`, or `parameter <name>`; in the backward pass that of which the gradient is wrong.
    """

    rank: int
    data_rank: int
    micro_batch: int
    node: str
    module: str
    direction: Literal["forward", "backward"]
    kind: str

    def __str__(self) -> str:
        what = f"gradient of {self.kind}" if self.direction == "backward" else self.kind
        return f"micro-batch {self.micro_batch + 1}, rank {self.rank}, node {self.node}: {what} of {self.module}"


class NonFiniteError(TrainingError):
    """The loss or the gradient norm of a step is no finite number; parameters are as they were before the step."""

    def __init__(
        self, loss: float, grad_norm: float, finding: Finding | None = None, message: str | None = None
    ) -> None:
        """finding: where it begins, if that was found; message: what people read, by default the numbers and where."""
        self.loss, self.grad_norm, self.finding = loss, grad_norm, finding
        where = f"First in {finding}." if finding else NOT_AGAIN
        super().__init__(message or f"loss {loss}, gradient norm {grad_norm}. {where}")
