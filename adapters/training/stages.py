"""What trains in a stage of a run: selectors of the settings, or groups of a freeze plan, on a rank's parameters."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import distributed, nn

from adapters.training.problems import TrainingError
from adapters.training.settings import Stage, Training
from composer import Graph
from composer.plans.freeze_file import FreezePlan, PlannedStage, read_freeze_plan
from composer.plans.selector_checks import read_selector
from composer.plans.selector_parser import parse_selector
from composer.plans.selectors import Scope
from composer.suggestion import suggestion

if TYPE_CHECKING:
    from adapters.megatron.module import ComposedModel


@frozen
class Rates:
    """Factors on the learning rate and the weight decay of one parameter; vectors get no decay whatever the factor."""

    lr: float = 1.0
    weight_decay: float = 1.0


RatesOf = dict[nn.Parameter, Rates]
"""Of parameters that train; those that are not in it have factors of one."""


@frozen
class NodeSize:
    """A node's elements on this rank in a stage, and how many train; each tensor is counted once, also where shared."""

    node: str
    role: str
    parameters: int
    trained: int


def load_plan(settings: Training, graph: Graph) -> FreezePlan | None:
    """The freeze plan that the settings name; None if they name none.

    Raises:
        FreezePlanError: it cannot be read, or is of another model.
        SpecError: its text has problems.
    """
    return None if settings.freeze_plan is None else read_freeze_plan(Path(settings.freeze_plan), graph)


def stage_findings(settings: Training, graph: Graph, plan: FreezePlan | None) -> list[tuple[str, str]]:
    """(path, message) for everything wrong with what the stages train."""
    found = []
    for index, stage in enumerate(settings.stages):
        path = f"stages[{index}]"
        found += _planned_findings(path, stage, plan) if plan else _trains_findings(path, stage, graph)
    factors = settings.optimizer.lr_multipliers
    if plan is not None and factors:
        found.append(("optimizer.lr_multipliers", "the freeze plan has the multipliers: put these into its stages."))
    for name in factors:
        if plan is None and name not in graph.nodes:
            found.append((f"optimizer.lr_multipliers.{name}", f"no node {name}.{suggestion(name, graph.nodes)}"))
    return found


def _planned_findings(path: str, stage: Stage, plan: FreezePlan) -> list[tuple[str, str]]:
    names = [planned.name for planned in plan.stages]
    found = []
    if stage.trains:
        found.append((f"{path}.trains", f"the freeze plan says what trains in {stage.name}: leave it out."))
    if stage.name not in names:
        found.append((f"{path}.name", f"the freeze plan has no stage {stage.name}.{suggestion(stage.name, names)}"))
    return found


def _trains_findings(path: str, stage: Stage, graph: Graph) -> list[tuple[str, str]]:
    if not stage.trains:
        return [(f"{path}.trains", f"stage {stage.name} trains nothing.")]
    scope = Scope.of(graph)
    faults = [(at, fault) for at, text in enumerate(stage.trains) for fault in read_selector(text, scope)[1]]
    return [(f"{path}.trains[{at}]", fault.message) for at, fault in faults]


def freeze_all_but(model: "ComposedModel", graph: Graph, stage: Stage, plan: PlannedStage | None = None) -> RatesOf:
    """Leave gradients on for what the stage trains, and off for everything else on this rank.

    Args:
        model: one stage of the pipeline.
        graph: of the model.
        stage: of the settings; its selectors are read if there is no plan.
        plan: the freeze plan's stage of that name.

    Returns:
        The factors of parameters that have some other than one.
    """
    trained = trained_parameters(model, graph, stage, plan)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in trained)
    return {parameter: rates for parameter, rates in trained.items() if rates != Rates()}


def trained_parameters(model: "ComposedModel", graph: Graph, stage: Stage, plan: PlannedStage | None) -> RatesOf:
    """What a stage trains of a model's parameters, with the factors of each."""
    from adapters.megatron.parameter_names import canonical_names

    if plan is not None:
        groups = plan.multipliers()
        found = [(parameter, groups.get(name)) for name, parameter in canonical_names(model).items()]
        return {parameter: Rates(group.lr, group.weight_decay) for parameter, group in found if group is not None}
    names = {name for selected in _selected(model, graph, stage) for name in selected}
    return {parameter: Rates() for name, parameter in canonical_names(model).items() if name in names}


def check_trained(models: Sequence["ComposedModel"], graph: Graph, stage: Stage, plan: PlannedStage | None) -> None:
    """Compare what is to train with the parameters of all ranks. Collective: every rank calls it, with all its stages.

    Raises:
        TrainingError: on every rank: a name of the plan is of no parameter, or a selector selects nothing.
    """
    from adapters.megatron.parameter_names import canonical_names

    if plan is not None:
        wanted = sorted(plan.multipliers())
        own = {name for model in models for name in canonical_names(model)}
        if gone := [wanted[at] for at in _nowhere(name in own for name in wanted)]:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            raise TrainingError(
                f"the freeze plan's stage {plan.name} trains {gone[0]}{more}, but the model has no such parameter: "
                "make a new plan with `vlm-composer plan freeze`."
            )
        return
    selected = [_selected(model, graph, stage) for model in models]
    empty = _nowhere(any(of_model[at] for of_model in selected) for at in range(len(stage.trains)))
    if empty:
        raise TrainingError([f"stage {stage.name}: {stage.trains[at]} selects no parameter." for at in empty])


def _selected(model: "ComposedModel", graph: Graph, stage: Stage) -> list[frozenset[str]]:
    """Names, in the whole model, of what each selector of a stage selects on this rank."""
    from adapters.plans.parameter_parts import rank_parameters

    scope = Scope.of(graph, model.config.num_layers)
    parameters = rank_parameters(graph, model)
    return [parse_selector(text).select(parameters, scope) for text in stage.trains]


def _nowhere(here: Iterable[bool]) -> list[int]:
    """Numbers of the things that are on no rank."""
    seen = torch.tensor([int(each) for each in here], dtype=torch.int32, device=torch.cuda.current_device())
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(seen, distributed.ReduceOp.MAX)
    return [at for at, held in enumerate(seen.tolist()) if not held]


def node_sizes(
    models: Sequence["ComposedModel"], graph: Graph, stage: Stage, plan: PlannedStage | None = None
) -> tuple[NodeSize, ...]:
    """Elements of every node on this rank, in the order of the spec, and how many the stage trains."""
    trained = {parameter for model in models for parameter in trained_parameters(model, graph, stage, plan)}
    seen: set[nn.Parameter] = set()
    sizes = []
    for name in graph.nodes:
        modules = [module for model in models if (module := getattr(model, name, None)) is not None]
        own = [p for p in dict.fromkeys(p for module in modules for p in module.parameters()) if p not in seen]
        seen.update(own)
        count, training = (sum(p.numel() for p in some) for some in (own, (p for p in own if p in trained)))
        sizes.append(NodeSize(name, graph.component(name).role, count, training))
    return tuple(sizes)
