"""A plan file and the graph it was made for."""

import hashlib
from pathlib import Path

from attrs import frozen

from adapters.plans.problems import PlanUseError
from composer.graph import Graph
from composer.plans.content import content_hash
from composer.plans.plan_file import ParallelPlan, parse_plan


@frozen
class PlanFile:
    """A plan, where it was read, and the first 16 digits of the SHA-256 of its text."""

    path: Path
    digest: str
    plan: ParallelPlan


def read_plan(path: Path) -> PlanFile:
    """The plan of a file.

    Raises:
        PlanUseError: the file cannot be read.
        SpecError: with all problems of its text at once, each with its line.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanUseError(f"{path}: cannot be read: {error}.") from error
    return PlanFile(path, hashlib.sha256(raw).hexdigest()[:16], parse_plan(text, str(path)))


def check_graph(file: PlanFile, graph: Graph) -> None:
    """Whether a plan is for a graph.

    Raises:
        PlanUseError: it is for another one.
    """
    source, own = file.plan.model, content_hash(graph)
    if source.hash != own:
        raise PlanUseError(
            f"{file.path}: was made for a model {source.hash}; {source.spec} is {own} now. Undo the change of the spec "
            "or of its configuration, or plan again: vlm-composer plan parallel."
        )
