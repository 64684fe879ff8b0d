"""What can be wrong with a training run's inputs."""

from collections.abc import Iterable


class TrainingError(Exception):
    """Settings, data or tokenizer do not fit the model; the message has one line per problem."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(TrainingError):
    """A sample of the data folder cannot be used; the message starts with its file and line."""


class NonFiniteError(TrainingError):
    """The loss or the gradient norm of a step is no finite number; parameters are as they were before the step."""

    def __init__(self, loss: float, grad_norm: float, message: str | None = None) -> None:
        """message: what people read; by default the two numbers."""
        self.loss, self.grad_norm = loss, grad_norm
        super().__init__(message or f"loss {loss}, gradient norm {grad_norm}")
