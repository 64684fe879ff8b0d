"""Parameters that a pipeline rank holds, and what their training adds: gradients and optimizer state.

Megatron-Core sums gradients in float32. Its AdamW keeps two moments in float32, and with bf16 a float32 copy of the
parameters. DeepSpeed, as `adapters.deepspeed` sets it up, keeps the same.
"""

from functools import cache

from attrs import field, frozen

from composer.plans.execution import Execution
from composer.plans.job import Job
from composer.plans.model import PlannedModel, Tally
from composer.plans.placement import Chunk

GRADIENT = 4
MOMENTS = 8
MASTER = 4


@frozen
class Held:
    """Elements of whole tensors, by how ranks share them; see `Tally.sharing`."""

    all: int = 0
    tensor: int = 0
    expert: int = 0
    expert_whole: int = 0

    def dense(self, tp: int) -> int:
        """On one rank, of everything but experts."""
        return self.all + self.tensor // tp

    def experts(self, ep: int, etp: int) -> int:
        """On one rank, of its experts."""
        return self.expert // (ep * etp) + self.expert_whole // ep


@frozen
class Parameters:
    """What a pipeline rank holds, and how much of it trains."""

    held: Held = field(factory=Held)
    trained: Held = field(factory=Held)


@frozen
class States:
    """Bytes on one rank."""

    weights: int
    gradients: int
    optimizer: int


def states(parameters: Parameters, job: Job, execution: Execution, *, leanest: bool = False) -> States:
    """Of one pipeline rank; leanest: with the distributed optimizer, whatever the execution says of it."""
    layout = execution.layout
    per_element = MOMENTS + (MASTER if job.precision == "bf16" else 0)
    tp, ep, etp = layout.tp, layout.ep, layout.etp
    held = parameters.held.dense(tp) + parameters.held.experts(ep, etp)
    dense, experts = parameters.trained.dense(tp), parameters.trained.experts(ep, etp)
    weights, gradients = held * job.element, (dense + experts) * GRADIENT
    if execution.engine == "deepspeed":
        return _zero(weights, gradients, (dense + experts) * per_element, execution)
    if execution.distributed_optimizer or leanest:
        dense, experts = _share(dense, execution.data_ranks * layout.cp), _share(experts, execution.expert_data_ranks)
    return States(weights, gradients, (dense + experts) * per_element)


def _zero(weights: int, gradients: int, optimizer: int, execution: Execution) -> States:
    ranks, stage = execution.data_ranks, execution.zero.stage
    return States(
        _share(weights, ranks) if stage == 3 else weights,
        _share(gradients, ranks) if stage >= 2 else gradients,
        0 if execution.zero.offload else _share(optimizer, ranks) if stage else optimizer,
    )


def _share(elements: int, ranks: int) -> int:
    """The largest of equal parts."""
    return -(-elements // ranks)


@cache
def all_parameters(model: PlannedModel) -> Parameters:
    """Of the whole model, a tied table once."""
    return parameters_of(model, (Chunk(0, 0, range(len(model.decoder.kinds)), first=True, last=True),))


@cache
def parameters_of(model: PlannedModel, chunks: tuple[Chunk, ...]) -> Parameters:
    """Of the pipeline rank that holds these stages."""
    held: dict[str, int] = {}
    trained: dict[str, int] = {}
    for chunk in chunks:
        for tally in _tallies(model, chunk):
            held[tally.sharing] = held.get(tally.sharing, 0) + tally.elements
            trained[tally.sharing] = trained.get(tally.sharing, 0) + tally.trained
    return Parameters(Held(**held), Held(**trained))


def _tallies(model: PlannedModel, chunk: Chunk) -> list[Tally]:
    """Of one stage; where the table is tied, the last one holds a copy of it."""
    found = []
    for tally in model.tallies:
        if tally.node == model.decoder_node and tally.layer is not None:
            here = tally.layer in chunk.layers
        elif tally.node == model.decoder_node and tally.part in ("head", "norms"):
            here = chunk.last
        elif tally.node == model.decoder_node and tally.part == "embeddings" and model.inventory.tied:
            here = chunk.first or chunk.last
        else:
            here = chunk.first
        if here:
            found.append(tally)
    return found
