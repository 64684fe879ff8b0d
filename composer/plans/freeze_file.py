"""A freeze plan as a file: the model it is of, and for each stage what was asked, what trains, and what it costs."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from attrs import asdict, field, frozen

from composer.decode import DecodeError, reader_of
from composer.emit import emit
from composer.errors import Location, Problem, SpecError
from composer.graph import Graph
from composer.plans.content import content_hash
from composer.plans.freeze import Group, ResolvedStage
from composer.plans.freeze_costs import NodeCosts, Precision
from composer.plans.inventory import Inventory
from composer.plans.name_patterns import PatternError, expand, fold
from composer.plans.plan_file import Source
from composer.source import read_tree
from composer.stages import FreezeStage
from composer.suggestion import nearest
from composer.tree import Tree

VERSION = 1


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class PlannedStage:
    """A stage of a freeze plan."""

    name: str = field(metadata=_doc("Name of the stage."))
    asked: FreezeStage = field(metadata=_doc("The selectors it was resolved from."))
    groups: tuple[Group, ...] = field(metadata=_doc("What trains, by its multipliers, in patterns of exact names."))
    nodes: tuple[NodeCosts, ...] = field(default=(), metadata=_doc("What each node costs."))

    def multipliers(self) -> dict[str, Group]:
        """The group of each parameter that trains, by its exact name."""
        return {name: group for group in self.groups for name in expand(group.parameters)}


@frozen
class FreezePlan:
    """Written by `plan freeze`, read by `train --freeze-plan` and `plan parallel`."""

    freeze_plan: Literal[1] = field(metadata=_doc("Version of this form."))
    model: Source = field(metadata=_doc("The model it is of."))
    precision: Precision = field(metadata=_doc("What bytes are counted for."))
    stages: tuple[PlannedStage, ...] = field(metadata=_doc("Stages, first to last."))

    def stage(self, name: str) -> PlannedStage:
        """The stage of a name.

        Raises:
            KeyError: there is none.
        """
        return {stage.name: stage for stage in self.stages}[name]


class FreezePlanError(Exception):
    """A plan does not fit the model it is used for."""


def planned(stage: ResolvedStage, costs: Iterable[NodeCosts]) -> PlannedStage:
    """A resolved stage as it stands in the file: exact names in patterns."""
    groups = tuple(Group(group.lr, group.weight_decay, fold(group.parameters)) for group in stage.groups)
    return PlannedStage(stage.name, stage.asked, groups, tuple(costs))


def plan_data(plan: FreezePlan) -> dict[str, Any]:
    """Plain data: mappings, lists, text, numbers."""
    return asdict(plan, value_serializer=lambda _, __, value: list(value) if type(value) is tuple else value)


def plan_text(plan: FreezePlan, form: Literal["yaml", "json"] = "yaml") -> str:
    """Text that `parse_freeze_plan` reads back to the same plan."""
    data = plan_data(plan)
    return emit(data) if form == "yaml" else json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def parse_freeze_plan(text: str, file: str) -> FreezePlan:
    """A plan from YAML or JSON text; `file` is the name that problems carry.

    Raises:
        SpecError: with all problems at once, each with its line.
    """
    tree, problems = read_tree(text, file)
    version = tree.child("freeze_plan") if tree.is_mapping else None
    if version is None:
        place = Location(file, tree.line, tree.column)
        problems.append(Problem(place, "", "no freeze plan: `vlm-composer plan freeze SPEC -o FILE` writes one."))
        raise SpecError(problems, {file: text})
    if type(version.value) is int and version.value != VERSION:
        message = (
            f"is of form {version.value}, and {VERSION} is read here: make it anew with `vlm-composer plan freeze`."
        )
        raise SpecError([Problem(version.location, "freeze_plan", message)], {file: text})
    try:
        plan: FreezePlan = reader_of(FreezePlan)(tree, ())
        problems += _problems(plan, tree)
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {file: text})
    return plan


def read_freeze_plan(path: Path, graph: Graph, inventory: Inventory | None = None) -> FreezePlan:
    """A plan that was made for a graph as it is now.

    Args:
        path: of the file.
        graph: that the plan is used for.
        inventory: of the graph; None: names are not compared.

    Raises:
        FreezePlanError: the file cannot be read, or the plan is of another version of the spec or another model.
        SpecError: with all problems of its text, each with its line; names that the model does not have, too.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FreezePlanError(f"{path}: cannot be read: {error}.") from error
    plan = parse_freeze_plan(text, str(path))
    if plan.model.hash != (now := content_hash(graph)):
        made_of = plan.model.spec
        raise FreezePlanError(
            f"{path}: was made for {made_of} as it was then (content {plan.model.hash}); this is {graph.name} with "
            f"content {now}. Make a new one: {remake(plan.model, path)}"
        )
    if inventory is not None and (problems := _gone(plan, inventory, read_tree(text, str(path))[0])):
        raise SpecError(problems, {str(path): text})
    return plan


def remake(source: Source, path: Path) -> str:
    """The command that makes a plan anew."""
    import shlex

    words = ["vlm-composer", "plan", "freeze", source.spec]
    words += ["--hf", source.hf] if source.hf else []
    words += [word for change in source.set for word in ("--set", change)]
    return shlex.join([*words, "-o", str(path)])


def _problems(plan: FreezePlan, tree: Tree) -> list[Problem]:
    """Two stages of a name, patterns that are none, parameters in two groups."""
    found: list[Problem] = []
    if not plan.stages:
        found.append(_at(tree, ("stages",), "stages", "no stage is in it."))
    names: set[str] = set()
    for number, stage in enumerate(plan.stages):
        if stage.name in names:
            path = f"stages[{number}].name"
            found.append(_at(tree, ("stages", number, "name"), path, f"a second stage {stage.name}."))
        names.add(stage.name)
        seen: frozenset[str] = frozenset()
        for at, group in enumerate(stage.groups):
            for line, pattern in enumerate(group.parameters):
                place = ("stages", number, "groups", at, "parameters", line)
                path = f"stages[{number}].groups[{at}].parameters[{line}]"
                try:
                    own = expand([pattern])
                except PatternError as error:
                    found.append(_at(tree, place, path, f"{error}."))
                    continue
                if twice := sorted(own & seen):
                    found.append(_at(tree, place, path, f"{twice[0]} is in this stage already."))
                seen |= own
    return found


def _gone(plan: FreezePlan, inventory: Inventory, tree: Tree) -> list[Problem]:
    there = {parameter.name for parameter in inventory.parameters}
    found = []
    for number, stage in enumerate(plan.stages):
        for at, group in enumerate(stage.groups):
            for line, pattern in enumerate(group.parameters):
                if absent := sorted(expand([pattern]) - there):
                    place = ("stages", number, "groups", at, "parameters", line)
                    path = f"stages[{number}].groups[{at}].parameters[{line}]"
                    near = nearest(absent[0], there)
                    hint = f" Did you mean {near}?" if near else ""
                    message = f"{inventory.name} has no parameter {absent[0]}{_more(absent)}.{hint}"
                    found.append(_at(tree, place, path, message))
    return found


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more of these" if len(names) > 1 else ""


def _at(tree: Tree, place: tuple[str | int, ...], path: str, message: str) -> Problem:
    return Problem(tree.locate(place), path, message)
