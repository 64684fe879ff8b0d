"""The least memory that a set of executions can take, whichever of them is chosen: what a search need not look at.

Each bound is of one rank, or of the mean of all pipeline ranks, which the fullest is not below.
"""

from functools import cache

from composer.plans.answer import GIB
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.memory.activations import stage_bytes
from composer.plans.memory.in_flight import in_flight
from composer.plans.memory.ranks import leanest
from composer.plans.memory.setting import setting_of
from composer.plans.memory.states import parameters_of, states
from composer.plans.memory.towers import Images
from composer.plans.model import PlannedModel
from composer.plans.placement import Chunk, place
from composer.plans.splits import Splits


def least(model: PlannedModel, job: Job, execution: Execution, hardware: Hardware, splits: Splits) -> int:
    """Bytes that the fullest rank has at least.

    Args:
        model: what is trained.
        job: its batches.
        execution: with any placement of layers and any sharing of optimizer state.
        hardware: its reserve is added.
        splits: the placements.
    """
    held = leanest(model, job, execution, hardware)
    if held > hardware.memory_gib * GIB:
        return held
    reserve = round(hardware.reserve_gib * GIB)
    layout, count = execution.layout, execution.micro_batches(job.global_batch)
    pp, images = layout.pp, Images.of(job)
    setting = setting_of(model, job, layout, execution.micro_batch)
    layers = len(model.decoder.kinds)
    whole = stage_bytes(model, Chunk(0, 0, range(layers), first=True, last=True), setting, images)
    lightest = min(
        stage_bytes(model, Chunk(0, 0, range(layer, layer + 1), first=layer == 0, last=False), setting, images).layers
        for layer in _samples(model)
    )
    flights = passes_kept(layers, pp, count, splits)
    kept = max(whole.layers, lightest * flights)
    in_all = held + kept // pp
    if pp == 1:
        return in_all + whole.towers + whole.logits + whole.masks
    first = states(parameters_of(model, (Chunk(0, 0, range(0), first=True, last=False),)), job, execution, leanest=True)
    last = states(
        parameters_of(model, (Chunk(pp - 1, 0, range(layers, layers), first=False, last=True),)),
        job,
        execution,
        leanest=True,
    )
    at_first = first.weights + first.gradients + first.optimizer + whole.towers * min(pp, count) + reserve
    at_last = last.weights + last.gradients + last.optimizer + whole.logits + reserve
    return max(in_all, at_first, at_last)


@cache
def _samples(model: PlannedModel) -> tuple[int, ...]:
    """A layer of each kind."""
    kinds = model.decoder.kinds
    return tuple(kinds.index(kind) for kind in dict.fromkeys(kinds))


@cache
def passes_kept(num_layers: int, pp: int, micro_batches: int, splits: Splits) -> int:
    """Layers times micro-batches in flight, summed over pipeline ranks, of the placement with fewest."""
    if pp == 1:
        return num_layers
    found = []
    for first, last, virtual in splits.ways:
        layout = Layout(pp=pp, virtual_stages=virtual, first_stage_layers=first, last_stage_layers=last)
        counts = in_flight(pp, virtual, micro_batches)
        found.append(sum(len(each.layers) * counts[each.rank][each.virtual] for each in place(num_layers, layout)))
    return min(found)
