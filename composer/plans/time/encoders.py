"""Seconds of towers and projectors for one micro-batch.

Tensor- and context-parallel ranks are given the same images: towers share them out, projectors read the features of
all. A node that does not train and has
nothing upstream that does runs forward only; one that does not train but stands behind one that does passes gradient.
"""

from math import ceil

from attrs import frozen

from composer.plans.execution import Execution
from composer.plans.inventory import EncoderCosts
from composer.plans.job import Job
from composer.plans.model import PlannedModel
from composer.plans.time.block import BlockTime
from composer.plans.time.operation import BACKWARD_LAUNCHES, Rates

ELEMENTWISE_BACKWARD = 2.2
"""Bytes of the backward pass for one of the forward pass; of norms 2.6, of activations 1.9, of additions 1."""
ATTENTION_BACKWARD = 2.5


@frozen
class EncoderPasses:
    """How often the backward pass of a node computes as much as its forward pass: for inputs, and for parameters.

    shared: ranks with the same images encode a part each; projectors run on the features of all.
    """

    inputs: float
    parameters: float
    shared: bool = True

    @property
    def any(self) -> bool:
        """Whether there is a backward pass."""
        return bool(self.inputs or self.parameters)


def passes_of(model: PlannedModel) -> dict[str, EncoderPasses]:
    """Of every tower and projector, each after those it reads."""
    passes: dict[str, EncoderPasses] = {}
    learns: dict[str, bool] = {}
    for costs in model.inventory.encoders:
        upstream = any(learns.get(each, False) for each in costs.reads)
        own = [tally for tally in model.tallies if tally.node == costs.node]
        elements, trained = sum(tally.elements for tally in own), sum(tally.trained for tally in own)
        share = trained / elements if elements else 0.0
        # Within a tower that trains, all but the first layer's gradients pass through what comes before the last.
        tower = any(tally.part == "tower" for tally in own)
        passes[costs.node] = EncoderPasses(float(upstream or (tower and share > 0)), share, tower)
        learns[costs.node] = upstream or trained > 0
    return passes


def encoder_time(costs: EncoderCosts, passes: EncoderPasses, job: Job, execution: Execution, rates: Rates) -> BlockTime:
    """Of one node, on the rank with most images."""
    sharing = execution.layout.tp * execution.layout.cp if passes.shared else 1
    items = ceil(execution.micro_batch * job.images / sharing)
    if items == 0:
        return BlockTime()
    gemm = items * costs.gemm(job.image_tokens) / rates.gemm
    attention = items * costs.attention(job.image_tokens) / rates.attention
    moved = items * costs.elementwise(job.image_tokens) * job.element / rates.memory
    compute, attended = gemm + moved, attention
    backward = passes.inputs + passes.parameters
    compute_back = gemm * backward + (moved * ELEMENTWISE_BACKWARD if passes.any else 0.0)
    attended_back = attention * (ATTENTION_BACKWARD if passes.inputs else 0.0)
    started = costs.launches * rates.launch
    started_back = started * BACKWARD_LAUNCHES if passes.any else 0.0
    return BlockTime(
        compute=compute + compute_back,
        attention=attended + attended_back,
        host=max(0.0, started - compute - attended) + max(0.0, started_back - compute_back - attended_back),
    )


def encoder_flops(costs: EncoderCosts, passes: EncoderPasses, job: Job) -> float:
    """FLOPs of one sample that the model asks for."""
    backward = passes.inputs + passes.parameters
    gemm, attention = costs.gemm(job.image_tokens), costs.attention(job.image_tokens)
    return job.images * (gemm * (1 + backward) + attention * (1 + 2 * passes.inputs))
