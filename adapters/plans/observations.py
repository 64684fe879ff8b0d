"""Steps that a training run timed, from its log, as what `composer.plans.calibrate` fits to."""

import statistics
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from attrs import frozen

from adapters.plans.planned import trained_by
from adapters.training.log import StepRecord, read_log
from adapters.training.problems import TrainingError
from adapters.training.run_file import Run, read_run
from adapters.training.settings import Training
from composer.graph import Graph
from composer.plans.calibrate import Observation
from composer.plans.execution import Execution
from composer.plans.freeze_file import read_freeze_plan
from composer.plans.job import Job
from composer.plans.model import PlannedModel

WARM_UP = 3
"""Steps of a stage that are not counted: kernels are chosen, memory is taken, buffers are made."""
LENGTHS = 64
"""Tokens of a sample are taken as equal within so many."""


@frozen
class TimedStep:
    """Median seconds of the steps of one length. seq: tokens of a sample, on average; samples: of the global batch;
    images: of a sample, on average.
    """

    seq: int
    samples: int
    seconds: float
    images: int = 0


def timed_steps(path: Path, stage: str | None = None) -> tuple[TimedStep, ...]:
    """Steps of a `log.jsonl`, by length.

    Args:
        path: the log.
        stage: whose steps are wanted; None: the last one's.

    Raises:
        TrainingError: there is no such log or stage, or it ends before anything but warm-up was timed.
    """
    try:
        records = read_log(path)
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{path}: no log of a training run: {error}.") from error
    if not records:
        raise TrainingError(f"{path}: holds no step of a training run (`log.jsonl` of its folder is expected).")
    wanted = records[-1].stage if stage is None else stage
    steps = [record for record in records if record.stage == wanted]
    if not steps:
        known = ", ".join(dict.fromkeys(record.stage for record in records))
        raise TrainingError(f"{path}: has no stage {wanted!r}; it has {known}.")
    if len(steps) <= WARM_UP:
        raise TrainingError(f"{path}: {wanted} has {len(steps)} steps, of which the first {WARM_UP} are not counted.")
    return tuple(_by_length(steps[WARM_UP:]))


def observations(path: Path, model: PlannedModel, stage: str | None = None) -> tuple[Observation, ...]:
    """Timed steps of a run, with how it ran, from its `log.jsonl` and the `run.yaml` beside it.

    Args:
        path: the log.
        model: with what trained in that stage.
        stage: see `timed_steps`.

    Raises:
        TrainingError: as `timed_steps`; the run was of another model, or the log's batches cannot have run so; there is
            no `run.yaml`.
        SpecError: `run.yaml` is not as it was written.
    """
    steps = timed_steps(path, stage)
    run = read_run(path)
    if run.model != model.inventory.graph:
        raise TrainingError(
            f"{path}: is of a run of another model (content {run.model}); this one's is {model.inventory.graph}."
        )
    execution, found = execution_of(run.settings, run.processes), []
    for step in steps:
        per_step = execution.micro_batch * execution.data_ranks
        if step.samples % per_step:
            raise TrainingError(
                f"{path}: a step had {step.samples} samples, no multiple of {per_step}: micro-batch "
                f"{execution.micro_batch} on {execution.data_ranks} replicas. Was the run another one?"
            )
        found.append(Observation(model, _job(step, run), execution, step.seconds))
    return tuple(found)


def _job(step: TimedStep, run: Run) -> Job:
    """With as many placeholders of an image as settings allow, and the sequence has room for."""
    settings = run.settings
    room = step.seq // max(step.images, 1)
    return Job(
        run.processes,
        step.seq,
        step.samples,
        images=step.images,
        image_tokens=min(settings.pictures.max_features, room),
        precision=settings.precision,
        implementation=settings.transformer_impl,
    )


def trained_in_run(path: Path, graph: Graph) -> frozenset[str]:
    """Names of the parameters that trained in the last stage of a log.

    Raises:
        TrainingError: there is no such log or stage, or no `run.yaml` beside it.
        FreezePlanError, SpecError: the run's freeze plan is not of this graph.
    """
    records = read_log(path)
    if not records:
        raise TrainingError(f"{path}: holds no step of a training run (`log.jsonl` of its folder is expected).")
    settings, name = read_run(path).settings, records[-1].stage
    if settings.freeze_plan is not None:
        return frozenset(read_freeze_plan(Path(settings.freeze_plan), graph).stage(name).multipliers())
    return trained_by(graph, next((stage.trains for stage in settings.stages if stage.name == name), ()))


def execution_of(settings: Training, processes: int) -> Execution:
    """How a run of these settings on so many processes is executed."""
    return Execution(
        processes,
        settings.layout,
        settings.micro_batch,
        settings.distributed_optimizer,
        settings.overlap,
        settings.engine,
        settings.zero,
    )


def _by_length(records: list[StepRecord]) -> Iterator[TimedStep]:
    groups: dict[tuple[int, int, int], list[float]] = {}
    for record in records:
        seconds = record.tokens / record.tokens_per_second
        samples = round(record.samples_per_second * seconds)
        length = ceil(record.tokens / samples / LENGTHS) * LENGTHS
        groups.setdefault((length, samples, round(record.images / samples)), []).append(seconds)
    for (length, samples, images), seconds in sorted(groups.items()):
        yield TimedStep(length, samples, statistics.median(seconds), images)
