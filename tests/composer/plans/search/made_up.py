"""A judge whose numbers follow no model, to see that a search finds what looking at everything finds."""

import hashlib
from collections import Counter

from attrs import frozen

from composer.plans.answer import Estimate, Memory, RankMemory, StepTime
from composer.plans.execution import Execution
from composer.plans.interval import Interval
from composer.plans.job import Job
from composer.plans.search.space import Frame, Space, frames
from tests.composer.plans.search.decoders import Layers, eight_gpus

LOWEST = 0.5
"""How far below a frame's best its bound may lie."""
JOB = Job(8, 512, 16)


def number(seed: int, what: str, execution: Execution, values: int) -> float:
    """Between 1 and 2, the same whenever asked; of few values, so that ties happen."""
    text = f"{seed} {what} {execution}"
    digest = hashlib.sha256(text.encode()).digest()
    return 1 + int.from_bytes(digest[:4]) % values / values


@frozen(eq=False)
class MadeUp:
    """`composer.plans.search.reasons.Searcher`."""

    seed: int
    limit: int
    values: int = 10**6

    def memory(self, execution: Execution) -> tuple[RankMemory, ...]:
        weights = int(1000 * number(self.seed, "memory", execution, self.values))
        return (RankMemory(0, Memory(weights=weights), (1,)),)

    def estimate(self, execution: Execution, memory: tuple[RankMemory, ...]) -> Estimate:
        seconds = Interval.exact(number(self.seed, "time", execution, self.values))
        return Estimate(execution, memory, StepTime(nodes={"all": seconds}), Interval(0, 0, 0), Interval(0, 0, 0))

    def quickest(self, execution: Execution) -> float:
        below = number(self.seed, "quickest", execution, 8) - 1
        return number(self.seed, "time", execution, self.values) * (1 - LOWEST * below)

    def shortest(self, frame: Frame) -> float:
        below = number(self.seed, "bound", frame.execution, 8) - 1
        best = min(number(self.seed, "time", each, self.values) for each in frame.executions())
        return best * (1 - LOWEST * below)

    def leanest(self, frame: Frame) -> int:
        below = number(self.seed, "leanest", frame.execution, 8) - 1
        return int(min(self.memory(each)[0].memory.total for each in frame.executions()) * (1 - LOWEST * below))

    def frames(self, space: Space, fallen: Counter[str]) -> list[Frame]:
        return list(frames(space, Layers(4), JOB, eight_gpus(), fallen))
