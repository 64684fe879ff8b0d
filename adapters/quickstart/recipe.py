"""What differs between the models that the quickstart teaches to read numbers."""

from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from adapters.training.settings import Training
from composer import Graph


@frozen(eq=False)
class Recipe:
    """One model.

    load: the graph, from the spec, the run's folder (where checkpoints to start from are written) and a seed.
    vocab_size and special: of the tokenizer; lengths: digits of the numbers; target: the share of the shortest numbers
    that should be read right.
    """

    load: Callable[[Path, Path, int], Graph]
    settings: Callable[[int], Training]
    vocab_size: int
    special: tuple[str, ...]
    lengths: tuple[int, ...]
    target: float
