"""Memory of every pipeline rank: what it holds for the whole step, and the fullest moment of its passes.

Three moments are compared: making embeddings or masks, the logits, and the backward pass of a layer, when the logits
are gone. All micro-batches in flight keep their activations at each.
"""

from functools import cache

from attrs import frozen

from composer.plans.answer import GIB, Memory, RankMemory
from composer.plans.costs import Setting
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.memory.activations import StageBytes, stage_bytes
from composer.plans.memory.communication import communication
from composer.plans.memory.in_flight import in_flight
from composer.plans.memory.setting import Device, setting_of
from composer.plans.memory.states import all_parameters, parameters_of, states
from composer.plans.memory.towers import Images
from composer.plans.model import PlannedModel
from composer.plans.placement import Chunk, place


@frozen
class Passing:
    """Bytes of forward and backward passes at a rank's fullest moment."""

    activations: int
    towers: int
    masks: int
    logits: int
    transient: int
    sent: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.activations + self.towers + self.masks + self.logits + self.transient + self.sent


def memory_of(
    model: PlannedModel, job: Job, execution: Execution, hardware: Hardware, *, device: Device = "cuda"
) -> tuple[RankMemory, ...]:
    """One answer for each pipeline rank, of its fullest tensor-, context-, expert- and data-parallel rank.

    Args:
        model: what is trained.
        job: its batches.
        execution: how it runs; the decoder fits its layout (`DecoderCosts.misfits`).
        hardware: its reserve is added.
        device: kernels of which device are counted.

    Raises:
        PlacementError: the layers cannot be dealt out to the pipeline ranks.
    """
    layout = execution.layout
    setting = setting_of(model, job, layout, execution.micro_batch, device)
    counts = in_flight(layout.pp, layout.virtual_stages, execution.micro_batches(job.global_batch))
    passing = _passing(model, setting, Images.of(job), _cut(layout), counts)
    reserve = round(hardware.reserve_gib * GIB)
    answers = []
    for rank, chunks in enumerate(_ranks(len(model.decoder.kinds), _cut(layout))):
        own, held = passing[rank], states(parameters_of(model, chunks), job, execution)
        memory = Memory(
            weights=held.weights,
            gradients=held.gradients,
            optimizer=held.optimizer,
            activations=own.activations,
            towers=own.towers,
            masks=own.masks,
            logits=own.logits,
            transient=own.transient,
            communication=own.sent + communication(model, setting, execution),
            reserve=reserve,
        )
        answers.append(RankMemory(rank, memory, counts[rank]))
    return tuple(answers)


def leanest(model: PlannedModel, job: Job, execution: Execution, hardware: Hardware) -> int:
    """Bytes that the fullest rank has at least, wherever layers are placed, and with the distributed optimizer.

    Parameters and their states are dealt out evenly to pipeline ranks; activations are left out.
    """
    held = states(all_parameters(model), job, execution, leanest=True)
    even = (held.weights + held.gradients + held.optimizer) // execution.layout.pp
    return even + round(hardware.reserve_gib * GIB)


Cut = tuple[int, int, int | None, int | None]
"""What decides the placement of layers: pipeline ranks, virtual stages, layers of the first rank and of the last."""


def _cut(layout: Layout) -> Cut:
    return layout.pp, layout.virtual_stages, layout.first_stage_layers, layout.last_stage_layers


@cache
def _ranks(num_layers: int, cut: Cut) -> tuple[tuple[Chunk, ...], ...]:
    pp, virtual, first, last = cut
    layout = Layout(pp=pp, virtual_stages=virtual, first_stage_layers=first, last_stage_layers=last)
    chunks = place(num_layers, layout)
    return tuple(tuple(chunk for chunk in chunks if chunk.rank == rank) for rank in range(pp))


@cache
def _passing(
    model: PlannedModel, setting: Setting, images: Images, cut: Cut, counts: tuple[tuple[int, ...], ...]
) -> tuple[Passing, ...]:
    ranks = _ranks(len(model.decoder.kinds), cut)
    return tuple(
        fullest(tuple(stage_bytes(model, chunk, setting, images) for chunk in chunks), count)
        for chunks, count in zip(ranks, counts, strict=True)
    )


def fullest(stages: tuple[StageBytes, ...], counts: tuple[int, ...]) -> Passing:
    """The fullest moment of a rank's stages, with so many micro-batches of each in flight."""
    kept = towers = masks = sent = logits = 0
    for stage, count in zip(stages, counts, strict=True):
        kept += count * stage.layers
        towers += count * stage.towers
        masks += count * stage.masks
        sent += count * stage.sent
        logits += count * stage.logits
    last = stages[-1]
    layer = last.pending + max(stage.layer for stage in stages)
    moments = [(0, max(stage.making for stage in stages)), (0, layer)]
    if logits:
        moments += [(logits, last.head), (0, last.head_gradient)]
    at_once, transient = max(moments, key=sum)
    return Passing(kept, towers, masks, at_once, transient, sent)
