"""One job on one hardware: what the search asks about its executions."""

from collections import Counter

from composer.plans.answer import GIB, Estimate, RankMemory
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.memory import memory_of
from composer.plans.memory.bounds import least
from composer.plans.model import PlannedModel
from composer.plans.search.space import Frame, Space, frames
from composer.plans.time import estimate, quickest, shortest


class Planner:
    """Answers for executions of a job; see `composer.plans.search.search.Judge`."""

    def __init__(self, model: PlannedModel, job: Job, hardware: Hardware, fill: float = 1.0) -> None:
        """Take a job.

        Args:
            model: with what trains.
            job: of which executions are judged.
            hardware: that it runs on.
            fill: share of the memory that may be used.
        """
        self.model, self.job, self.hardware = model, job, hardware
        self.limit = int(hardware.memory_gib * GIB * fill)
        self._shortest: dict[Frame, float] = {}
        self._leanest: dict[Frame, int] = {}

    def frames(self, space: Space, fallen: Counter[str]) -> list[Frame]:
        """Executions of the space that the engines accept."""
        return list(frames(space, self.model.decoder, self.job, self.hardware, fallen))

    def memory(self, execution: Execution) -> tuple[RankMemory, ...]:
        """Bytes of every pipeline rank."""
        return memory_of(self.model, self.job, execution, self.hardware)

    def estimate(self, execution: Execution, memory: tuple[RankMemory, ...]) -> Estimate:
        """Memory, time and rates."""
        return estimate(self.model, self.job, execution, self.hardware, memory)

    def quickest(self, execution: Execution) -> float:
        """Seconds that an execution is no faster than, found without playing its schedule."""
        return quickest(self.model, self.job, execution, self.hardware)

    def shortest(self, frame: Frame) -> float:
        """Seconds, were the pipeline perfectly even, never idle, and nothing waited for."""
        if frame not in self._shortest:
            self._shortest[frame] = shortest(self.model, self.job, frame.execution, self.hardware)
        return self._shortest[frame]

    def leanest(self, frame: Frame) -> int:
        """Bytes that the fullest GPU has, however the frame deals layers and states out."""
        if frame not in self._leanest:
            self._leanest[frame] = least(self.model, self.job, frame.execution, self.hardware, frame.splits)
        return self._leanest[frame]
