"""Interleaved pipelines whose stages differ: the schedule itself is played, for few micro-batches, and carried on.

A rank's virtual stages take turns, so a slow one (with the towers, with the logits) keeps the other ranks waiting even
where the rank's stages together are no slower than theirs.
"""

from functools import lru_cache

from composer.plans.timeline import StageTime, play

FORWARD = 1 / 3
"""Of the time of a stage: backward there are two products for one forward."""
GROUPS = 3
"""Groups, of as many micro-batches as pipeline ranks, that are played; later ones take as long as the last."""


@lru_cache(maxsize=4096)
def seconds(stages: tuple[tuple[float, ...], ...], micro_batches: int) -> float:
    """Until the last rank is done.

    Args:
        stages: seconds of a micro-batch, both directions: for every virtual stage, for every rank.
        micro_batches: of one replica, a multiple of the ranks.
    """
    ranks = len(stages[0])
    played = GROUPS * ranks
    if micro_batches <= played:
        return _played(stages, micro_batches)
    before, whole = _played(stages, played - ranks), _played(stages, played)
    return whole + (micro_batches - played) / ranks * (whole - before)


def _played(stages: tuple[tuple[float, ...], ...], micro_batches: int) -> float:
    times = tuple(
        StageTime(rank, virtual, of_stage * FORWARD, of_stage * (1 - FORWARD))
        for virtual, of_rank in enumerate(stages)
        for rank, of_stage in enumerate(of_rank)
    )
    return play(times, micro_batches).total
