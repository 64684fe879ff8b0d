"""A plan's execution in a training file: what is computed stays the user's, how it is computed becomes the plan's."""

from attrs import evolve

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

    Raises:
        PlanUseError: what trains cannot be said by naming nodes.
    """
    stage = Stage(plan.frozen.stage or "train", steps, _trained_nodes(plan, graph))
    job = plan.job
    pictures = PictureSettings(max_features=job.image_tokens) if job.images else PictureSettings()
    bare = Training(
        (stage,), global_batch=job.global_batch, max_length=job.seq, precision=job.precision, pictures=pictures
    )
    return planned_settings(plan, bare)


def _trained_nodes(plan: ParallelPlan, graph: Graph) -> tuple[str, ...]:
    frozen = plan.frozen
    if not (plan.nodes or frozen.plan or frozen.selectors):
        return tuple(graph.nodes)
    partly = [node.node for node in plan.nodes if node.state == "partly"]
    if partly or not plan.nodes:
        what = f"of {', '.join(partly)} a part trains" if partly else "the plan does not say which nodes train"
        raise PlanUseError(f"{what}, so no training file can be made of the plan alone: give yours, --settings FILE.")
    return tuple(node.node for node in plan.nodes if node.state == "trained")


def settings_notes(plan: ParallelPlan, settings: Training) -> list[str]:
    """What someone should know who trains with these settings: where the plan has not looked."""
    frozen = {node.node for node in plan.nodes if node.state == "frozen"}
    thawed = {stage.name: [name for name in stage.trains if name in frozen] for stage in settings.stages}
    notes = [
        f"stage {stage} trains {', '.join(names)}, frozen in the plan: its memory and time are not planned."
        for stage, names in thawed.items()
        if names
    ]
    if plan.job.images and settings.pictures.max_features > plan.job.image_tokens:
        notes.append(
            f"pictures.max_features is {settings.pictures.max_features}, the plan counts with {plan.job.image_tokens} "
            "rows of a picture: towers may take more memory and time."
        )
    return notes
