"""Why what somebody would have tried first was not chosen."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from attrs import frozen

from composer.plans.answer import Estimate, StepTime
from composer.plans.execution import Execution
from composer.plans.interval import Interval
from composer.plans.search.search import Found, Judge, search
from composer.plans.search.space import Frame, Space
from composer.plans.words import execution_words, gib, largest, seconds


class Searcher(Judge, Protocol):
    """A judge that knows its job, and so what there is to judge."""

    def frames(self, space: Space, fallen: Counter[str]) -> list[Frame]:
        """The frames of a space; counts what the engines do not accept."""
        ...


@frozen
class Obvious:
    """A layout that people try first."""

    name: str
    space: Space
    matches: Callable[[Execution], bool]


@frozen
class Reason:
    """Why none of a kind was chosen; estimate: the best of the kind, or the smallest if none fits."""

    name: str
    text: str
    estimate: Estimate | None


def obvious_layouts(node_gpus: int, gpus: int, num_experts: int) -> Iterator[Obvious]:
    """What people try first on a cluster."""
    width = min(node_gpus, gpus)
    alone = Space(tp=(1,), pp=(1,), cp=(1,), ep=(1,), engines=("megatron",))
    yield Obvious("data parallelism alone", alone, lambda e: e.engine == "megatron" and e.data_ranks == e.gpus)
    yield Obvious("DeepSpeed ZeRO-3", Space(engines=("deepspeed",)), lambda e: e.zero.stage == 3)
    if width > 1:
        yield Obvious(f"tensor parallelism over a node (tp{width})", Space(tp=(width,)), lambda e: e.layout.tp == width)
        yield Obvious("a pipeline of two ranks (pp2)", Space(pp=(2,)), lambda e: e.layout.pp == 2)
        yield Obvious("context parallelism (cp2)", Space(cp=(2,)), lambda e: e.layout.cp == 2)
    if num_experts and width > 1:
        yield Obvious(f"experts over a node (ep{width})", Space(ep=(width,)), lambda e: e.layout.ep == width)
        yield Obvious("experts on every GPU (ep1)", Space(ep=(1,)), lambda e: e.layout.ep == 1)
    nothing = Space(recompute=("none",))
    yield Obvious("no recomputation", nothing, lambda e: e.layout.recompute == "none")


def reasons(searcher: Searcher, frames: list[Frame], best: Estimate, obvious: Iterator[Obvious]) -> list[Reason]:
    """Why each obvious layout that the best is not was not chosen.

    Args:
        searcher: of the job.
        frames: of the whole search.
        best: what was chosen.
        obvious: what people try first.
    """
    told = []
    for each in obvious:
        if each.matches(best.execution):
            continue
        matching = [frame for frame in frames if each.matches(frame.execution)]
        if matching:
            told.append(_compared(each.name, searcher, search(searcher, matching, places=1), best))
        else:
            told.append(Reason(each.name, _absent(each, searcher), None))
    return told


def _absent(obvious: Obvious, searcher: Searcher) -> str:
    fallen: Counter[str] = Counter()
    if any(obvious.matches(frame.execution) for frame in searcher.frames(obvious.space, fallen)):
        return "outside the bounds that were given"
    return f"cannot run: {fallen.most_common(1)[0][0] if fallen else 'the global batch cannot be dealt out so'}"


def _compared(name: str, searcher: Searcher, found: Found, best: Estimate) -> Reason:
    if not found.best:
        smallest = found.smallest
        if smallest is None:
            return Reason(name, "nothing of this kind is in the space", None)
        rank = smallest.fullest
        text = (
            f"does not fit: at least {gib(rank.memory.total)} of {gib(searcher.limit)} "
            f"({largest(rank.memory)}), with {execution_words(smallest.execution)}"
        )
        return Reason(name, text, smallest)
    other = found.best[0]
    factor = other.time.total.likely / best.time.total.likely
    text = f"{factor:.2f}× the time: {seconds(other.time.total)}{_grown(other.time, best.time)}"
    return Reason(name, f"{text}, with {execution_words(other.execution)}", other)


def _grown(other: StepTime, best: StepTime) -> str:
    """The component that costs most more."""
    ours = best.components()
    # A node that the slowest pipeline rank does not hold has no time of its own.
    nothing = Interval.exact(0)
    more = {name: part.likely - ours.get(name, nothing).likely for name, part in other.components().items()}
    name = max(more, key=lambda each: more[each])
    return f"; {name.replace('_', ' ')} +{more[name]:.2f} s" if more[name] > 0 else ""


def binding(best: Estimate, near: Estimate | None, limit: int) -> str:
    """The constraint that decides, in words."""
    if near is not None:
        rank = near.fullest
        return (
            f"memory: {execution_words(near.execution)} would take {seconds(near.time.total)}, and needs "
            f"{gib(rank.memory.total)} of {gib(limit)} on pipeline rank {rank.pipeline_rank} ({largest(rank.memory)})"
        )
    parts = best.time.components()
    name = max(parts, key=lambda each: parts[each].likely)
    share = parts[name].likely / best.time.total.likely
    return f"time of {name.replace('_', ' ')}: {share:.0%} of the step; nothing faster needs more memory than there is"
