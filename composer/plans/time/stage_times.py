"""Seconds of every pipeline stage for one micro-batch, forward and backward apart: what a timeline is played from."""

from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.model import PlannedModel
from composer.plans.placement import place
from composer.plans.time.estimate import clock_of
from composer.plans.timeline import StageTime


def stage_times(model: PlannedModel, job: Job, execution: Execution, hardware: Hardware) -> tuple[StageTime, ...]:
    """Every stage, in the order of the model. What is computed again counts as backward.

    Where nothing trains, a micro-batch takes its forward pass and no more; the rest of what it takes is backward.

    Raises:
        PlacementError: the layers cannot be dealt out over pipeline ranks so.
    """
    still = PlannedModel(model.inventory, model.decoder_node, model.decoder, model.rules, frozenset(), model.levels)
    both = clock_of(model, job, hardware).blocks(execution)
    ahead = clock_of(still, job, hardware).blocks(execution)
    stages = []
    for chunk in place(len(both.layers), execution.layout):
        forward = ahead.seconds(chunk)
        stages.append(StageTime(chunk.rank, chunk.virtual, forward, max(0.0, both.seconds(chunk) - forward)))
    return tuple(stages)
