"""The page: what a plan chose and what that costs, drawn. Every number is the plan's; nothing is computed anew but the
timeline, which is played from the plan's stage times.
"""

from pathlib import Path
from typing import Any

from attrs import asdict, fields, frozen
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adapters.plans.reading import PlanFile
from adapters.plans.report import words
from adapters.plans.report.timeline_picture import timeline_svg, window_of
from composer.graph import Graph
from composer.plans.answer import GIB, Estimate, Memory
from composer.plans.interval import Interval
from composer.plans.plan_file import ParallelPlan
from composer.plans.timeline import Timeline, equal_stages, play
from composer.views import to_svg

HERE = Path(__file__).parent
REJECTED = 60
"""So many rejected executions are listed."""


def report_html(file: PlanFile, graph: Graph, version: str) -> str:
    """A page without any address in it: fonts are the reader's own, pictures are inline.

    Args:
        file: the plan.
        graph: that it is for.
        version: of vlm-composer, for the foot of the page.
    """
    plan = file.plan
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        name: getattr(words, name)
        for name in ("gib", "seconds", "seconds_range", "rate", "percent", "count", "layout_words", "execution_words")
    }
    return environment.get_template("page.html").render(
        file=file,
        plan=plan,
        job=plan.job,
        chosen=plan.estimate,
        version=version,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        graph=to_svg(graph, {node.node: node.state for node in plan.nodes}),
        micro_batches=plan.execution.micro_batches(plan.job.global_batch),
        memory=_memory(plan),
        timeline=_timeline(plan),
        times=_times(plan.estimate),
        candidates=[plan.estimate, *plan.alternatives],
        rejected=plan.rejected[:REJECTED],
        hardware=_hardware(plan),
    )


@frozen
class MemoryPart:
    """A component: its name, and bytes on each pipeline rank."""

    key: str
    name: str
    bytes: tuple[int, ...]


@frozen
class MemoryView:
    """Bars of all ranks on one scale. limit: bytes of a card; scale: bytes of the whole width."""

    parts: tuple[MemoryPart, ...]
    totals: tuple[int, ...]
    limit: float
    scale: float


def _memory(plan: ParallelPlan) -> MemoryView:
    ranks = sorted(plan.estimate.memory, key=lambda rank: rank.pipeline_rank)
    totals = tuple(rank.memory.total for rank in ranks)
    parts = tuple(
        MemoryPart(each.name, each.name, tuple(getattr(rank.memory, each.name) for rank in ranks))
        for each in fields(Memory)
        if any(getattr(rank.memory, each.name) for rank in ranks)
    )
    limit = plan.hardware.memory_gib * GIB
    return MemoryView(parts, totals, limit, 1.03 * max(limit, *totals))


@frozen
class TimelineView:
    """A picture, and what it shows. equal: stages are drawn alike, because the plan has no times of them."""

    svg: str
    total: float
    bubbles: tuple[float, ...]
    equal: bool
    whole: bool


def _timeline(plan: ParallelPlan) -> TimelineView | None:
    """None without a pipeline."""
    layout = plan.execution.layout
    if layout.pp == 1:
        return None
    micro_batches = plan.execution.micro_batches(plan.job.global_batch)
    stages = plan.stages or equal_stages(layout.pp, layout.virtual_stages)
    timeline: Timeline = play(stages, micro_batches)
    return TimelineView(
        timeline_svg(timeline, timed=bool(plan.stages)),
        timeline.total,
        tuple(timeline.bubble(rank) for rank in range(layout.pp)),
        not plan.stages,
        window_of(timeline).ends is None,
    )


@frozen
class TimePart:
    """A component of a step."""

    name: str
    note: str
    time: Interval


@frozen
class TimesView:
    """All components, longest ones' scale."""

    parts: tuple[TimePart, ...]
    scale: float


_NOTES = {
    "attention": "scores and values",
    "tensor_parallel": "messages between tensor-parallel ranks",
    "expert_parallel": "tokens to experts and back",
    "context_parallel": "keys and values of other ranks",
    "pipeline": "bubble and messages between stages",
    "data_parallel": "gradients and parameters, what compute does not hide",
    "optimizer": "the update of parameters",
    "host": "waiting for kernels to be started",
}


def _times(estimate: Estimate) -> TimesView:
    parts = [TimePart(node, "compute of this node", time) for node, time in estimate.time.nodes.items()]
    parts += [TimePart(name, note, getattr(estimate.time, name)) for name, note in _NOTES.items()]
    shown = tuple(part for part in parts if part.time.high > 0)
    return TimesView(shown, max((part.time.high for part in shown), default=1.0))


def _hardware(plan: ParallelPlan) -> dict[str, Any]:
    """Every number of the hardware file, by the name it has there."""
    found = asdict(plan.hardware)
    efficiency = found.pop("efficiency")
    return found | {f"efficiency.{name}": value for name, value in efficiency.items()}
