"""A parallel plan as a file: what was asked, what was chosen, and what is expected of it."""

from typing import Literal

from attrs import asdict, field, frozen

from composer.decode import DecodeError, reader_of
from composer.emit import emit
from composer.errors import Problem, SpecError
from composer.path import parse_path
from composer.plans.answer import Estimate
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.layout import layout_findings
from composer.plans.timeline import StageTime
from composer.source import read_tree

VERSION = 1

NodeState = Literal["trained", "partly", "frozen"]
"""How much of a node trains."""


@frozen
class Source:
    """The model a plan was made for; written down so that a plan for another one is refused."""

    spec: str
    """A spec file or the name of a shipped spec, as given."""
    hash: str
    """`content_hash` of the graph."""
    hf: str | None = None
    set: tuple[str, ...] = ()


@frozen
class Frozen:
    """What trains: a freeze plan's file and stage, or the selectors of what is frozen; nothing: all trains."""

    plan: str | None = None
    stage: str | None = None
    selectors: tuple[str, ...] = ()


@frozen
class NodeParameters:
    """Elements of all parameters of a node of the spec, and of those that train."""

    node: str
    parameters: int
    trained: int

    @property
    def state(self) -> NodeState:
        """In a word."""
        if not self.trained:
            return "frozen"
        return "trained" if self.trained == self.parameters else "partly"


@frozen
class Rejected:
    """A kind of layout that was not chosen, and why; estimate: the best of the kind, if it can run at all."""

    name: str
    reason: str
    estimate: Estimate | None = None


@frozen
class ParallelPlan:
    """Written by `plan parallel`, read by `plan emit`, `plan diff` and `plan report`."""

    plan: Literal[1]
    model: Source
    frozen: Frozen
    job: Job
    hardware: Hardware
    estimate: Estimate
    binding: str
    """The constraint that decides, in words."""
    alternatives: tuple[Estimate, ...] = ()
    """The next best."""
    rejected: tuple[Rejected, ...] = ()
    space: dict[str, int] = field(factory=dict)
    """How many executions were considered, and how many fell to what."""
    nodes: tuple[NodeParameters, ...] = ()
    """What `frozen` comes to; empty: not written down."""
    stages: tuple[StageTime, ...] = ()
    """Of the chosen execution, every pipeline stage; empty: not written down."""
    notes: tuple[str, ...] = ()
    """What the numbers do not rest on as they should, and what someone should know who runs it."""

    @property
    def execution(self) -> Execution:
        """What was chosen."""
        return self.estimate.execution


def plan_text(plan: ParallelPlan) -> str:
    """YAML text that `parse_plan` reads back to the same plan."""
    return emit(asdict(plan, value_serializer=lambda _, __, value: list(value) if type(value) is tuple else value))


def parse_plan(text: str, file: str) -> ParallelPlan:
    """A plan from YAML text; `file` is the name that problems carry.

    Raises:
        SpecError: with all problems at once, each with its line.
    """
    tree, problems = read_tree(text, file)
    try:
        plan: ParallelPlan = reader_of(ParallelPlan)(tree, ())
        problems += [Problem(tree.locate(parse_path(path)), path, message) for path, message in _findings(plan)]
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {file: text})
    return plan


def _findings(plan: ParallelPlan) -> list[tuple[str, str]]:
    """What contradicts itself: (path, message) each."""
    execution, job = plan.execution, plan.job
    found = [(f"estimate.execution.{path}", message) for path, message in layout_findings(execution.layout)]
    if execution.gpus != job.gpus:
        found.append(("job.gpus", f"{job.gpus}, but estimate.execution.gpus is {execution.gpus}."))
    if found:
        return found
    ranks = execution.layout.model_ranks
    if execution.gpus % ranks or execution.micro_batch < 1:
        return [("estimate.execution.gpus", f"{execution.gpus} GPUs are not dealt out to {ranks} ranks of a replica.")]
    unit = execution.micro_batch * execution.data_ranks
    if job.global_batch < 1 or job.global_batch % unit:
        return [("job.global_batch", f"{job.global_batch} is no multiple of {unit}, which estimate.execution needs.")]
    return []
