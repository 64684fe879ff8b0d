"""Fits the few constants of a hardware file to steps that were timed.

Each constant moves only as far as the observations pay for: the error is that of the logarithm of seconds, and moving a
constant away from where it was costs as well. Few numbers, so a search along one after the other is enough.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp, log

from attrs import evolve, fields, frozen

from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.job import Job
from composer.plans.model import PlannedModel
from composer.plans.time import time_of

EFFICIENCIES = tuple(each.name for each in fields(Efficiency))
LAUNCH = "launch_us"
CONSTANTS = (*EFFICIENCIES, LAUNCH)
"""What may be fitted: shares of peaks, and the time that the host takes to start a kernel."""
FIRST_STEP, LAST_STEP = 0.4, 0.002
"""Steps of the search, of the logarithm of a constant."""
CLOSE = 0.05
"""An error of the logarithm that may be chance."""


@frozen
class Observation:
    """Seconds of a step that was timed."""

    model: PlannedModel
    job: Job
    execution: Execution
    seconds: float

    def error(self, hardware: Hardware) -> float:
        """Logarithm of estimated over measured seconds: 0.1 is about 10 % too long."""
        return log(time_of(self.model, self.job, self.execution, hardware).total.likely / self.seconds)


def calibrate(
    hardware: Hardware,
    observations: Sequence[Observation],
    constants: Iterable[str] = CONSTANTS,
    trust: float = 0.2,
) -> Hardware:
    """Hardware whose constants fit what was observed.

    Args:
        hardware: where the search starts, and what it is held to.
        observations: steps of one kind of GPU; without any, nothing changes.
        constants: which of `CONSTANTS` may change.
        trust: how far (as a share) a constant is commonly wrong; an error of a tenth in all observations together
            weighs as much as moving one constant by half of this.

    Returns:
        The same but for the constants; efficiencies stay within (0, 1].
    """
    if not observations:
        return hardware
    names = tuple(constants)
    start = {name: log(_get(hardware, name)) for name in names}

    def cost(values: dict[str, float]) -> float:
        tried = _with(hardware, values)
        errors = sum(_weight(each.error(tried) / CLOSE) for each in observations) / len(observations)
        return errors + sum(((values[name] - start[name]) / trust) ** 2 for name in names) / 4

    return _with(hardware, _search(dict(start), cost, names))


def _weight(error: float) -> float:
    """A square of small errors; large ones only count as they are, so that one odd step carries nothing away."""
    size = abs(error)
    return size * size if size < 1 else 2 * size - 1


def _search(
    values: dict[str, float], cost: Callable[[dict[str, float]], float], names: tuple[str, ...]
) -> dict[str, float]:
    """Steps along one constant after the other, shorter where none helps."""
    best, step = cost(values), FIRST_STEP
    while step > LAST_STEP:
        moved = False
        for name in names:
            for way in (step, -step):
                tried = values | {name: _bounded(name, values[name] + way)}
                found = cost(tried)
                if found < best - 1e-12:
                    values, best, moved = tried, found, True
                    break
        if not moved:
            step /= 2
    return values


def _bounded(name: str, value: float) -> float:
    return value if name == LAUNCH else min(0.0, value)


def _get(hardware: Hardware, name: str) -> float:
    found: float = getattr(hardware if name == LAUNCH else hardware.efficiency, name)
    return found


def _with(hardware: Hardware, values: dict[str, float]) -> Hardware:
    shares = {name: exp(value) for name, value in values.items() if name != LAUNCH}
    launch = exp(values[LAUNCH]) if LAUNCH in values else hardware.launch_us
    return evolve(hardware, efficiency=evolve(hardware.efficiency, **shares), launch_us=launch)
