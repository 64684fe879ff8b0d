"""What one execution takes: seconds by component, tokens per second, and the share of the peak that is used."""

from functools import lru_cache

from composer.plans.answer import Estimate, RankMemory, StepTime
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.interval import Interval
from composer.plans.job import Job
from composer.plans.model import PlannedModel
from composer.plans.time.clock import Clock
from composer.plans.time.sharing import exposed_seconds, optimizer_seconds
from composer.plans.time.stages import Pipeline

NOTHING = Interval(0, 0, 0)


@lru_cache(maxsize=16)
def clock_of(model: PlannedModel, job: Job, hardware: Hardware) -> Clock:
    """One clock for all executions of a job."""
    return Clock(model, job, hardware)


def time_of(model: PlannedModel, job: Job, execution: Execution, hardware: Hardware) -> StepTime:
    """Seconds of one optimizer step, by component.

    Raises:
        PlacementError: the layers cannot be dealt out over pipeline ranks so.
    """
    clock = clock_of(model, job, hardware)
    micro_batches = execution.micro_batches(job.global_batch)
    pipeline = clock.pipeline(execution)
    rest, spread = pipeline.rest, hardware.spread
    data, optimizer = _after(clock, execution, pipeline, micro_batches)

    def interval(seconds: float) -> Interval:
        return Interval(seconds * (1 - spread), seconds, seconds * (1 + spread)) if seconds else NOTHING

    waiting = pipeline.waiting(micro_batches) + _between_stages(clock, execution, micro_batches)
    return StepTime(
        nodes={name: interval(seconds * micro_batches) for name, seconds in pipeline.nodes.items()},
        attention=interval(rest.attention * micro_batches),
        tensor_parallel=interval(rest.tensor_parallel * micro_batches),
        expert_parallel=interval(rest.expert_parallel * micro_batches),
        context_parallel=interval(rest.context_parallel * micro_batches),
        pipeline=interval(waiting),
        data_parallel=interval(data),
        optimizer=interval(optimizer),
        host=interval(rest.host * micro_batches),
    )


def estimate(
    model: PlannedModel, job: Job, execution: Execution, hardware: Hardware, memory: tuple[RankMemory, ...]
) -> Estimate:
    """Everything said of one execution, with what is known of its memory.

    Raises:
        PlacementError: the layers cannot be dealt out over pipeline ranks so.
    """
    time = time_of(model, job, execution, hardware)
    total = time.total
    tokens = job.global_batch * job.seq
    peak = hardware.tflops if job.precision == "bf16" else hardware.fp32_tflops
    flops = clock_of(model, job, hardware).sample_flops * job.global_batch
    return Estimate(
        execution=execution,
        memory=memory,
        time=time,
        tokens_per_second=Interval(tokens / total.high, tokens / total.likely, tokens / total.low),
        mfu=Interval(
            *(flops / (seconds * execution.gpus * peak * 1e12) for seconds in (total.high, total.likely, total.low))
        ),
    )


def shortest(model: PlannedModel, job: Job, execution: Execution, hardware: Hardware) -> float:
    """Seconds that no way of dealing layers and optimizer state out is faster than.

    A perfectly even pipeline without bubbles, gradients that travel unseen, optimizer state shared by all replicas.
    """
    clock = clock_of(model, job, hardware)
    blocks, layout = clock.blocks(execution), execution.layout
    computing = execution.micro_batches(job.global_batch) * (blocks.least / layout.pp + blocks.stage.total)
    trained = clock.trained_in_all(layout)
    data = max(execution.data_ranks * layout.cp, 1)
    elements = trained.dense / data + trained.expert / max(execution.expert_data_ranks, 1)
    return computing + elements / layout.pp * 28 / clock.rates.memory


def quickest(model: PlannedModel, job: Job, execution: Execution, hardware: Hardware) -> float:
    """Seconds that `time_of` is not below, without playing the schedule of virtual stages.

    Raises:
        PlacementError: the layers cannot be dealt out over pipeline ranks so.
    """
    clock = clock_of(model, job, hardware)
    pipeline, micro_batches = clock.pipeline(execution), execution.micro_batches(job.global_batch)
    after = sum(_after(clock, execution, pipeline, micro_batches))
    between = _between_stages(clock, execution, micro_batches)
    return max(pipeline.ranks) * micro_batches + pipeline.bubble() + between + after


def _after(clock: Clock, execution: Execution, pipeline: Pipeline, micro_batches: int) -> tuple[float, float]:
    """Seconds of gradients between replicas, and of the optimizer, on the rank that they take longest on."""
    groups = clock.groups(execution)
    element, rates = clock.job.element, clock.rates
    longest = (0.0, 0.0)
    for rank, trained in enumerate(clock.trained(execution.layout)):
        parameters, hooks = clock.gathered if execution.zero.stage == 3 else (0, 0.0)
        data = exposed_seconds(
            trained, parameters, execution, micro_batches, element, groups, clock.links, pipeline.ranks[rank], hooks
        )
        step = optimizer_seconds(trained, execution, element, rates.memory, rates.launch)
        longest = max(longest, (data, step), key=sum)
    return longest


def _between_stages(clock: Clock, execution: Execution, micro_batches: int) -> float:
    """Activations and their gradients between pipeline ranks; with virtual stages they travel during computing."""
    layout, job = execution.layout, clock.job
    if layout.pp == 1:
        return 0.0
    split = layout.cp * (layout.tp if layout.sequence_parallel else 1)
    tokens = execution.micro_batch * job.seq / split
    bytes_ = tokens * clock.hidden_size * job.element
    stride = execution.gpus // layout.pp
    once = clock.links.pipeline(bytes_, stride, clock.hardware.node_gpus)
    trips = 2 * (micro_batches if layout.virtual_stages == 1 else layout.pp * 2)
    return trips * once
