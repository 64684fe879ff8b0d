"""A parallel plan for a graph, or what would make one possible."""

from collections import Counter
from collections.abc import Iterator, Sequence

from attrs import frozen

from adapters.deepspeed.config import expert_warning
from adapters.plans.planned import PlanError, planned_model
from composer.graph import Graph
from composer.plans.answer import Estimate
from composer.plans.hardware import Hardware
from composer.plans.hardware_file import load_hardware, shipped_hardware
from composer.plans.job import Job
from composer.plans.model import PlannedModel
from composer.plans.plan_file import VERSION, Frozen, NodeParameters, ParallelPlan, Rejected, Source
from composer.plans.planner import Planner
from composer.plans.search.changes import Change, changes
from composer.plans.search.reasons import binding, obvious_layouts, reasons
from composer.plans.search.search import search
from composer.plans.search.space import Space, strays
from composer.plans.time.stage_times import stage_times


@frozen
class Asked:
    """What `plan parallel` was asked; frozen: selectors; trained: names of a freeze plan's stage."""

    graph: Graph
    source: Source
    frozen: Frozen
    job: Job
    hardware: Hardware
    space: Space
    fill: float
    trained: frozenset[str] | None = None


@frozen
class Infeasible:
    """Nothing fits. smallest: what needs least memory; changes: what would make it fit, smallest first."""

    smallest: Estimate | None
    limit: int
    changes: list[Change]


def plan(asked: Asked) -> ParallelPlan | Infeasible:
    """Search, and explain what was found.

    Raises:
        PlanError: no execution of the space divides GPUs, batch and sequence.
    """
    model = planned_model(asked.graph, asked.frozen.selectors, asked.trained)
    planner = Planner(model, asked.job, asked.hardware, asked.fill)
    if outside := strays(asked.space, model.decoder, asked.job, asked.hardware):
        raise PlanError(outside)
    fallen: Counter[str] = Counter()
    frames = planner.frames(asked.space, fallen)
    if not frames:
        raise PlanError(_no_frames(asked.job, fallen))
    found = search(planner, frames)
    if not found.best:
        return Infeasible(found.smallest, planner.limit, _changes(asked, model))
    best, *others = found.best
    node_gpus, experts = asked.hardware.node_gpus, model.decoder.num_experts
    told = reasons(planner, frames, best, obvious_layouts(node_gpus, asked.job.gpus, experts))
    return ParallelPlan(
        plan=VERSION,
        model=asked.source,
        frozen=asked.frozen,
        job=asked.job,
        hardware=asked.hardware,
        estimate=best,
        binding=binding(best, found.near, planner.limit),
        alternatives=tuple(others),
        rejected=tuple(Rejected(each.name, each.text, each.estimate) for each in told),
        space={
            "executions": found.considered,
            "looked at one by one": found.opened,
            "layouts the engines refuse": sum(fallen.values()),
        },
        nodes=_nodes(model),
        notes=tuple(_notes(model, best)),
        stages=stage_times(model, asked.job, best.execution, asked.hardware),
    )


def _notes(model: PlannedModel, best: Estimate) -> Iterator[str]:
    """What could not be found out of the model, and what someone should know who runs the plan."""
    yield from model.inventory.problems
    for costs in model.inventory.encoders:
        if costs.traced and costs.gemm.linear == costs.gemm.quadratic == 0:
            yield f"{costs.node} costs the same whatever --image-tokens says: give it the rows that the tower makes."
    execution = best.execution
    if execution.engine == "deepspeed" and (warned := expert_warning(execution.zero.stage, model.decoder.num_experts)):
        yield warned


def _nodes(model: PlannedModel) -> tuple[NodeParameters, ...]:
    """How much of each node there is, and trains, in the order of the inventory."""
    sums: dict[str, list[int]] = {}
    for tally in model.tallies:
        own = sums.setdefault(tally.node, [0, 0])
        own[0] += tally.elements
        own[1] += tally.trained
    return tuple(NodeParameters(node, *own) for node, own in sums.items())


def _no_frames(job: Job, fallen: Counter[str]) -> list[str]:
    problems = [f"No layout can be dealt out: {reason} ({count} layouts)." for reason, count in fallen.most_common(5)]
    batch = (
        f"No layout can be dealt out: a global batch of {job.global_batch} cannot be divided between the replicas that "
        f"{job.gpus} GPUs hold. Try a multiple of {job.gpus}."
    )
    return problems or [batch]


def _changes(asked: Asked, model: PlannedModel) -> list[Change]:
    def attempt(job: Job, hardware: Hardware, nodes: tuple[str, ...]) -> Estimate | None:
        kept = model if not nodes else _frozen_too(model, nodes)
        planner = Planner(kept, job, hardware, asked.fill)
        found = search(planner, planner.frames(asked.space, Counter()))
        return found.best[0] if found.best else None

    others = tuple(load_hardware(name) for name in shipped_hardware() if name != asked.hardware.name)
    return changes(asked.job, asked.hardware, others, _factors(model), attempt)


def _factors(model: PlannedModel) -> dict[str, float]:
    """By which factor fewer parameters train with a node frozen, of nodes that are not all that trains."""
    trained: Counter[str] = Counter()
    for tally in model.tallies:
        trained[tally.node] += tally.trained
    total = sum(trained.values())
    return {node: total / (total - count) for node, count in trained.items() if 0 < count < total}


def _frozen_too(model: PlannedModel, nodes: Sequence[str]) -> PlannedModel:
    held = {each.name for each in model.inventory.parameters if each.node in nodes}
    return PlannedModel(model.inventory, model.decoder_node, model.decoder, model.rules, model.trained - held)
