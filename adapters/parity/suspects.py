"""Places of a spec to look at, each with what was seen there, and the words for them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import frozen
from torch import Tensor

from adapters.parity.report import LOGITS_BOUND, relative_error
from composer.edges import Edge
from composer.finding import Finding

if TYPE_CHECKING:
    from composer import Graph


@frozen
class Suspect:
    """`path` is of the spec, as in errors; `message` says what transformers does there and what the spec does."""

    path: str
    message: str


def as_lines(graph: "Graph", suspects: Iterable[Suspect]) -> tuple[str, ...]:
    """`file:line:column: path: message`; without a file for a graph that was built."""
    findings = [Finding(suspect.path, suspect.message) for suspect in suspects]
    if graph.origins is None:
        return tuple(f"{finding.path}: {finding.message}" for finding in findings)
    return tuple(problem.headline() for problem in graph.origins.problems(findings))


def edge_path(graph: "Graph", edge: Edge) -> str:
    """Of an edge of a graph that was read without problems."""
    return f"edges[{graph.edges.index(edge)}]"


def alike(ours: Tensor, oracle: Tensor) -> bool:
    """Whether two tensors of one size agree as logits must."""
    return ours.numel() == oracle.numel() and relative_error(ours.reshape(oracle.shape), oracle) <= LOGITS_BOUND


def factor(ours: Tensor, oracle: Tensor) -> float | None:
    """What ours has to be multiplied by; None if no number does it."""
    if ours.shape != oracle.shape or not ours.any():
        return None
    found = float((ours.double() * oracle.double()).sum() / (ours.double() ** 2).sum())
    return found if alike(ours.double() * found, oracle.double()) else None
