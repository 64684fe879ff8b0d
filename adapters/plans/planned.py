"""A graph as plans see it: inventory, costs of its decoder, what trains."""

from collections.abc import Sequence
from pathlib import Path

from adapters.plans.inventory import inventory
from composer.edges import MaskEdge
from composer.graph import Graph
from composer.levels import injected_layers
from composer.plans.freeze import select
from composer.plans.freeze_file import read_freeze_plan
from composer.plans.inventory import Inventory
from composer.plans.model import PlannedModel
from composer.plans.selectors import Scope
from composer.suggestion import suggestion


class PlanError(Exception):
    """What was asked cannot be planned; the message has one line per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def planned_model(graph: Graph, frozen: Sequence[str] = (), trained: frozenset[str] | None = None) -> PlannedModel:
    """A graph with what trains.

    Args:
        graph: a checked graph.
        frozen: selectors of what does not train.
        trained: names of what trains, from a freeze plan, instead.

    Raises:
        PlanError: a selector that is none or selects nothing; nothing trains; the decoder's component has no costs.
    """
    known = inventory(graph)
    decoder = graph.decoder()
    costs = graph.component(decoder.name).costs
    if costs is None:
        raise PlanError([f"{decoder.component}: this component does not say what it costs, so it cannot be planned."])
    names = _without(known, graph, frozen) if trained is None else trained
    if not names:
        raise PlanError(["Nothing trains: leave something out of --frozen."])
    rules = next(edge.rules for edge in graph.edges_to(decoder.name) if isinstance(edge, MaskEdge))
    return PlannedModel(known, decoder.name, costs(decoder.config), dict(rules), names, injected_layers(graph))


def trained_in(graph: Graph, path: Path, stage: str | None) -> tuple[str, frozenset[str]]:
    """A stage of a freeze plan: its name, and the parameters that train.

    Args:
        graph: that the plan must be of.
        path: of the plan.
        stage: by name; None: the only one there is.

    Raises:
        FreezePlanError, SpecError: the plan is of another model, or no plan.
        PlanError: no such stage, or several and none is named.
    """
    read_freeze_plan(path, graph)  # refuses a plan of another model before an inventory is made of this one
    stages = read_freeze_plan(path, graph, inventory(graph)).stages
    names = [each.name for each in stages]
    if stage is None and len(stages) > 1:
        raise PlanError([f"{path} has the stages {', '.join(names)}: choose one with --stage."])
    if stage is not None and stage not in names:
        raise PlanError([f"{path} has no stage {stage!r}.{suggestion(stage, names)}"])
    chosen = stages[0 if stage is None else names.index(stage)]
    return chosen.name, frozenset(chosen.multipliers())


def trained_by(graph: Graph, selectors: Sequence[str]) -> frozenset[str]:
    """Names of the parameters that selectors mean together; what cannot be read means none."""
    known, scope = inventory(graph), Scope.of(graph)
    return frozenset[str]().union(*(select(text, known, scope)[0] for text in selectors))


def _without(known: Inventory, graph: Graph, frozen: Sequence[str]) -> frozenset[str]:
    out: frozenset[str] = frozenset()
    problems = []
    for text in frozen:
        names, faults = select(text, known, Scope.of(graph))
        out |= names
        problems += [f"--frozen {text}: {fault.message}" for fault in faults]
    if problems:
        raise PlanError(problems)
    return frozenset(parameter.name for parameter in known.parameters) - out
