"""A plan's execution in a training file: what is computed stays the user's, how it is computed becomes the plan's."""

from collections import Counter
from pathlib import Path

from attrs import evolve

from adapters.plans.inventory import inventory
from adapters.plans.planned import trained_by
from adapters.plans.problems import PlanUseError
from adapters.training.settings import PictureSettings, Stage, Training
from composer.graph import Graph
from composer.plans.plan_file import ParallelPlan


def planned_settings(plan: ParallelPlan, given: Training) -> Training:
    """The settings with a plan's execution.

    Raises:
        PlanUseError: the plan was made for other convergence fields than the settings have; all of them.
    """
    job, execution = plan.job, plan.execution
    pairs = {
        "global_batch": (given.global_batch, job.global_batch),
        "max_length": (given.max_length, job.seq),
        "precision": (given.precision, job.precision),
    }
    wrong = [f"{name} is {own}, the plan is for {planned}" for name, (own, planned) in pairs.items() if own != planned]
    if wrong:
        raise PlanUseError(
            f"The settings are another experiment than the plan: {'; '.join(wrong)}. A plan changes how a step is "
            "computed, never what it computes: change the settings, or plan for them."
        )
    return evolve(
        given,
        engine=execution.engine,
        transformer_impl=job.implementation,
        layout=execution.layout,
        micro_batch=execution.micro_batch,
        distributed_optimizer=execution.distributed_optimizer,
        overlap=execution.overlap,
        zero=execution.zero,
    )


def fresh_settings(plan: ParallelPlan, graph: Graph, steps: int) -> Training:
    """Settings of a plan alone: one stage, everything else as settings are by default.

    A freeze plan's path is made absolute from where this runs, as `plan parallel` took it.

    Raises:
        PlanUseError: the plan says neither what is frozen nor which nodes train.
    """
    frozen, job = plan.frozen, plan.job
    if frozen.plan is not None and frozen.stage is not None:
        stage, freeze_plan = Stage(frozen.stage, steps), str(Path(frozen.plan).absolute())
    else:
        stage, freeze_plan = Stage(frozen.stage or "train", steps, _trained(plan, graph)), None
    pictures = PictureSettings(max_features=job.image_tokens) if job.images else PictureSettings()
    bare = Training(
        (stage,),
        freeze_plan=freeze_plan,
        global_batch=job.global_batch,
        max_length=job.seq,
        precision=job.precision,
        pictures=pictures,
    )
    return planned_settings(plan, bare)


def _trained(plan: ParallelPlan, graph: Graph) -> tuple[str, ...]:
    """Nodes that train, or where a node trains in part, a selector of all that is not frozen."""
    selectors = plan.frozen.selectors
    if not selectors and plan.frozen.plan is None:
        return tuple(graph.nodes)
    if plan.nodes and not any(node.state == "partly" for node in plan.nodes):
        return tuple(node.node for node in plan.nodes if node.state == "trained")
    if not selectors:
        raise PlanUseError(
            "The plan does not say which stage of its freeze plan trains: give settings, --settings FILE."
        )
    return (f"all - ({' | '.join(f'({selector})' for selector in selectors)})",)


def settings_notes(plan: ParallelPlan, settings: Training, graph: Graph) -> list[str]:
    """What someone should know who trains with these settings: where the plan has not looked."""
    notes = [note for stage in settings.stages if (note := _stage_note(plan, settings, stage, graph))]
    if plan.job.images and settings.pictures.max_features > plan.job.image_tokens:
        notes.append(
            f"pictures.max_features is {settings.pictures.max_features}, the plan counts with {plan.job.image_tokens} "
            "rows of a picture: towers may take more memory and time."
        )
    return notes


def _stage_note(plan: ParallelPlan, settings: Training, stage: Stage, graph: Graph) -> str | None:
    frozen = plan.frozen
    if settings.freeze_plan is not None:
        planned = frozen.plan is not None and Path(frozen.plan).absolute() == Path(settings.freeze_plan).absolute()
        if planned and stage.name == frozen.stage:
            return None
        return f"stage {stage.name} of {settings.freeze_plan} is not what the plan was made for, or is not known to be."
    names = trained_by(graph, stage.trains)
    sizes: Counter[str] = Counter()
    for parameter in inventory(graph).parameters if plan.nodes else ():
        sizes[parameter.node] += parameter.size if parameter.name in names else 0
    if more := [node.node for node in plan.nodes if sizes[node.node] > node.trained]:
        return (
            f"stage {stage.name} trains more of {', '.join(more)} than the plan: its memory and time are not planned."
        )
    return None
