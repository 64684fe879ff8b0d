"""What would make a job fit that does not, smallest change first."""

from collections.abc import Callable, Iterator

from attrs import evolve, frozen

from composer.plans.answer import Estimate
from composer.plans.hardware import Hardware
from composer.plans.job import Job

MOST_GPUS = 64
"""Largest factor on the number of GPUs that is tried."""
STEPS = 16
"""Sequences are shortened in sixteenths."""

type Try = Callable[[Job, Hardware, tuple[str, ...]], Estimate | None]
"""The best execution of a job on a hardware with more nodes frozen; None: nothing fits."""


@frozen
class Change:
    """factor: how many times more of something, or less; 1 changes nothing."""

    text: str
    factor: float
    estimate: Estimate


def changes(
    job: Job, hardware: Hardware, others: tuple[Hardware, ...], nodes: dict[str, float], attempt: Try
) -> list[Change]:
    """Every kind of change that makes the job fit, in its smallest size, the smallest of all first.

    Args:
        job: what does not fit.
        hardware: what it was asked for.
        others: other GPUs.
        nodes: those that train, with the factor by which training parameters become fewer where one is frozen.
        attempt: tries one.
    """
    found = [
        _first(_gpus(job), lambda size: attempt(evolve(job, gpus=size), hardware, ())),
        _first(_sequences(job), lambda size: attempt(evolve(job, seq=size), hardware, ())),
        _first(_cards(hardware, others), lambda card: attempt(job, card, ())),
        _first(_frozen(nodes), lambda node: attempt(job, hardware, (node,))),
    ]
    return sorted((change for change in found if change is not None), key=lambda change: change.factor)


def _first[T](candidates: Iterator[tuple[str, float, T]], attempt: Callable[[T], Estimate | None]) -> Change | None:
    for text, factor, candidate in candidates:
        estimate = attempt(candidate)
        if estimate is not None:
            return Change(text, factor, estimate)
    return None


def _gpus(job: Job) -> Iterator[tuple[str, float, int]]:
    factor = 2
    while factor <= MOST_GPUS:
        yield f"{job.gpus * factor} GPUs instead of {job.gpus}", factor, job.gpus * factor
        factor *= 2


def _sequences(job: Job) -> Iterator[tuple[str, float, int]]:
    needed = job.images * job.image_tokens
    for step in range(STEPS - 1, 0, -1):
        size = job.seq * step // STEPS
        if size > needed:
            yield f"sequences of {size} tokens instead of {job.seq}", STEPS / step, size


def _cards(hardware: Hardware, others: tuple[Hardware, ...]) -> Iterator[tuple[str, float, Hardware]]:
    larger = [card for card in others if card.memory_gib > hardware.memory_gib]
    for card in sorted(larger, key=lambda each: each.memory_gib):
        text = f"{card.name} ({card.memory_gib:.0f} GiB) instead of {hardware.name} ({hardware.memory_gib:.0f} GiB)"
        yield text, card.memory_gib / hardware.memory_gib, card


def _frozen(nodes: dict[str, float]) -> Iterator[tuple[str, float, str]]:
    for node, factor in sorted(nodes.items(), key=lambda item: item[1]):
        yield f"{node} frozen", factor, node
