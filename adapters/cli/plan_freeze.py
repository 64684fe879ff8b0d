"""`vlm-composer plan freeze`: what trains in each stage, to the exact parameter, and what every node costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, existing, load_graph
from adapters.cli.failure import UsageError
from adapters.cli.quiet import quiet

if TYPE_CHECKING:
    from composer import Graph
    from composer.plans.freeze_file import FreezePlan, PlannedStage


def freeze(
    spec: Spec,
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    stages: Annotated[Path | None, Parameter(help="YAML file with `stages:` [those of the spec].")] = None,
    stage: Annotated[list[str], Parameter(negative="", help="Only the stage of this name. Repeatable [all].")] = [],  # noqa: B006 (cyclopts reads the default)
    precision: Annotated[Literal["bf16", "fp32"], Parameter(help="What bytes are counted for.")] = "bf16",
    format: Annotated[Literal["table", "yaml", "json"], Parameter(help="How to print it.")] = "table",
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="Write the plan here: YAML, or JSON if it ends in .json.")
    ] = None,
) -> None:
    """Resolve stages of training to exact parameters.

    Prints parameters, what trains, gradient and optimizer bytes and FLOPs of every node. `vlm-composer train` takes
    the file that is written. The first answer for a spec builds the model on the meta device, which takes some seconds;
    later ones are read from the cache.
    """
    existing(stages)
    quiet()  # the first inventory of a model builds it
    graph = load_graph(spec, hf, set_)
    plan = make_plan(graph, (spec, hf, set_), stages, stage, precision)
    from composer.plans.freeze_file import plan_text

    if format == "table":
        _print_tables(graph, plan)
    else:
        print(plan_text(plan, format), end="")
    if output is not None:
        output.write_text(plan_text(plan, "json" if output.suffix == ".json" else "yaml"), encoding="utf-8")


def make_plan(
    graph: "Graph",
    source: tuple[str, str | None, list[str]],
    stage_file: Path | None,
    only: list[str],
    precision: Literal["bf16", "fp32"],
) -> "FreezePlan":
    """The plan of a graph.

    Args:
        graph: checked.
        source: the words that name it: spec, --hf, --set.
        stage_file: stages in place of the spec's own.
        only: names of stages; none: all.
        precision: what bytes are counted for.

    Raises:
        SpecError: everything that is wrong with the stages.
        UsageError: there is no stage of a name.
    """
    from adapters.plans.active_experts import active_experts
    from adapters.plans.inventory import inventory
    from composer.plans.content import content_hash
    from composer.plans.freeze import resolved_stages
    from composer.plans.freeze_costs import node_costs
    from composer.plans.freeze_file import VERSION, FreezePlan, planned
    from composer.plans.plan_file import Source
    from composer.plans.stage_file import stages_of
    from composer.suggestion import suggestion

    stages, origins = stages_of(graph, stage_file)
    for name in only:
        if name not in stages:
            raise UsageError(f"--stage {name}: no stage is called so.{suggestion(name, stages)}")
    stages = {name: asked for name, asked in stages.items() if not only or name in only}
    parameters = inventory(graph)
    share = active_experts(graph)
    made = [
        planned(
            resolved,
            node_costs(resolved.trained, parameters, graph, precision=precision, active_experts=share),
        )
        for resolved in resolved_stages(stages, parameters, graph, origins)
    ]
    spec, hf, set_ = source
    return FreezePlan(VERSION, Source(spec, content_hash(graph), hf, tuple(set_)), precision, tuple(made))


def _print_tables(graph: "Graph", plan: "FreezePlan") -> None:
    from adapters.screen import screen
    from composer.views.freeze_table import CAPTION, stage_table

    console = screen()
    console.print(f"[bold]{graph.name}[/]  content {plan.model.hash}, {plan.precision}")
    for stage in plan.stages:
        console.print()
        console.print(stage_table(stage))
        for line in _rates(stage):
            console.print(line)
    console.print(CAPTION, style="dim")


def _rates(stage: "PlannedStage") -> list[str]:
    """A line for each group with a multiplier other than one."""
    from composer.plans.name_patterns import expand

    return [
        f"{len(expand(group.parameters)):,} tensors: learning rate x {group.lr:g}, "
        f"weight decay x {group.weight_decay:g}"
        for group in stage.groups
        if (group.lr, group.weight_decay) != (1.0, 1.0)
    ]
