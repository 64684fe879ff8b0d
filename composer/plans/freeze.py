"""Freeze plans: stages of training resolved to the exact parameters that train, and their multipliers.

A stage trains the union of `trains` without that of `freezes`. What contradicts itself is found, not settled by an
order: see `_exceptions` and `_factors`.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

from attrs import define, field, frozen

from composer.checks.stages import entry_finding, value_findings
from composer.errors import Problem, SpecError
from composer.finding import Finding
from composer.graph import Graph
from composer.origins import Origins
from composer.plans.inventory import Inventory, Parameter
from composer.plans.selector_checks import Fault, empty_leaves, read_selector
from composer.plans.selectors import Scope
from composer.stages import FreezeStage

LR, WEIGHT_DECAY = "lr_multipliers", "weight_decay_multipliers"


@frozen
class Group:
    """Parameters that train at the same rates: factors on the run's learning rate and on its weight decay.

    Vectors and scalars get no weight decay, whatever the factor.
    """

    lr: float
    weight_decay: float
    parameters: tuple[str, ...]


@frozen
class ResolvedStage:
    """What trains in a stage. groups: each trained parameter is in one, in the order of the inventory."""

    name: str
    asked: FreezeStage
    groups: tuple[Group, ...]

    @cached_property
    def trained(self) -> frozenset[str]:
        """Names of all parameters that train."""
        return frozenset(name for group in self.groups for name in group.parameters)


def scope_of(inventory: Inventory, scope: Scope) -> Scope:
    """A scope with the number of decoder layers that a model has."""
    layers = [parameter.layer for parameter in inventory.parameters if parameter.layer is not None]
    return Scope(scope.nodes, max(layers) + 1 if layers else 0)


def resolve(
    stages: Mapping[str, FreezeStage], inventory: Inventory, scope: Scope
) -> tuple[tuple[ResolvedStage, ...], list[Finding]]:
    """Resolve stages to exact parameters.

    Args:
        stages: by name.
        inventory: of the model.
        scope: of its graph.

    Returns:
        The stages that could be resolved, and everything that is wrong with any of them, by paths below `stages`.
    """
    scope = scope_of(inventory, scope)
    resolved, found = [], []
    for name, stage in stages.items():
        work = _Stage(f"stages.{name}", stage, inventory, scope)
        groups = work.groups()
        work.found += value_findings(stage, work.path)
        found += work.found
        if not work.found:
            resolved.append(ResolvedStage(name, stage, groups))
    return tuple(resolved), found


def resolved_stages(
    stages: Mapping[str, FreezeStage], inventory: Inventory, graph: Graph, origins: Origins | None
) -> tuple[ResolvedStage, ...]:
    """`resolve`, where nothing may be wrong.

    Args:
        stages: of a spec, or of a file of their own.
        inventory: of the model.
        graph: of it.
        origins: of the file that the stages stand in; None: they were not read from one.

    Raises:
        SpecError: with everything that is wrong with any of them, each with its line.
    """
    resolved, found = resolve(stages, inventory, Scope.of(graph))
    if found and origins is not None:
        raise SpecError(origins.problems(found), origins.sources)
    if found:
        raise SpecError(Problem(None, finding.path, finding.text()) for finding in found)
    return resolved


def select(text: str, inventory: Inventory, scope: Scope) -> tuple[frozenset[str], list[Fault]]:
    """Names of what one selector selects, and what is wrong with it: its text, or a part that selects nothing."""
    scope = scope_of(inventory, scope)
    selector, faults = read_selector(text, scope)
    if selector is None:
        return frozenset(), faults
    faults = list(empty_leaves(selector, inventory, scope))
    names = selector.select(inventory.parameters, scope)
    if not faults and not names:
        faults = [Fault(1, f"{text} selects nothing.")]
    return names, faults


@define
class _Stage:
    """One stage on its way to groups."""

    path: str
    stage: FreezeStage
    inventory: Inventory
    scope: Scope
    found: list[Finding] = field(factory=list)

    def groups(self) -> tuple[Group, ...]:
        trains = self._select("trains", self.stage.trains)
        freezes = self._select("freezes", self.stage.freezes)
        lr = self._select(LR, self.stage.lr_multipliers)
        weight_decay = self._select(WEIGHT_DECAY, self.stage.weight_decay_multipliers)
        if self.found:  # what cannot be read selects nothing, and what follows from that is no news
            return ()
        self.found += self._exceptions(trains, freezes)
        names = frozenset().union(*trains.values()) - frozenset().union(*freezes.values())
        if not names and self.stage.trains and not self.found:
            self.found.append(Finding(f"{self.path}.trains", "nothing is left to train."))
        if self.found:
            return ()
        rates = self._factors(LR, lr, self.stage.lr_multipliers, names)
        decays = self._factors(WEIGHT_DECAY, weight_decay, self.stage.weight_decay_multipliers, names)
        self._check_vectors(weight_decay)
        grouped: dict[tuple[float, float], list[str]] = {}
        for parameter in self.inventory.parameters:
            if parameter.name in names:
                key = (rates.get(parameter.name, 1.0), decays.get(parameter.name, 1.0))
                grouped.setdefault(key, []).append(parameter.name)
        return tuple(Group(*key, tuple(members)) for key, members in grouped.items())

    def _select(self, section: str, texts: tuple[str, ...] | dict[str, float]) -> dict[str, frozenset[str]]:
        """What each selector of a section selects, by its text; a repeated one is an error."""
        chosen: dict[str, frozenset[str]] = {}
        for index, text in enumerate(texts):
            key = index if isinstance(texts, tuple) else text
            names, faults = select(text, self.inventory, self.scope)
            if text in chosen:
                faults = [Fault(1, f"{text} is written twice. Keep one.")]
            for fault in faults:
                self.found.append(entry_finding(f"{self.path}.{section}", key, text, fault))
            chosen[text] = names
        return chosen

    def _exceptions(self, trains: dict[str, frozenset[str]], freezes: dict[str, frozenset[str]]) -> Iterator[Finding]:
        """An exception takes something from what trains, and leaves something of each selector that trains."""
        together: frozenset[str] = frozenset().union(*trains.values())
        for index, (text, names) in enumerate(freezes.items()):
            path = f"{self.path}.freezes[{index}]"
            if not names & together:
                yield Finding(path, f"{text} is frozen already: nothing in `trains` selects it. Remove it.")
        frozen_names: frozenset[str] = frozenset().union(*freezes.values())
        for index, (text, names) in enumerate(trains.items()):
            if names <= frozen_names:
                by = [each for each, excepted in freezes.items() if excepted & names]
                places = tuple(f"{self.path}.freezes[{list(freezes).index(each)}]" for each in by)
                told = " and ".join(f"{each} ({{{number}}})" for number, each in enumerate(by))
                message = f"{text} is to train and to be frozen: `freezes` takes all of it away by {told}. Keep one."
                yield Finding(f"{self.path}.trains[{index}]", message, places)

    def _factors(
        self, section: str, chosen: dict[str, frozenset[str]], factors: dict[str, float], trained: frozenset[str]
    ) -> dict[str, float]:
        """The factor of each parameter that trains and has one."""
        found: dict[str, float] = {}
        owner: dict[str, str] = {}
        for text, names in chosen.items():
            if not names & trained:
                fault = Fault(1, f"nothing of {text} trains in this stage, so no factor on it does anything.")
                self.found.append(entry_finding(f"{self.path}.{section}", text, text, fault))
            clashes: dict[str, list[str]] = {}
            for name in sorted(names & trained):
                other = owner.setdefault(name, text)
                if found.setdefault(name, factors[text]) != factors[text]:
                    clashes.setdefault(other, []).append(name)
            for other, both in clashes.items():
                fault = Fault(
                    1,
                    f"{text} is {factors[text]:g} and {other} is {factors[other]:g}, but both select "
                    f"{_some(both)}. Take them out of one, as in `{_within(other)} - {_within(text, right=True)}`.",
                )
                self.found.append(entry_finding(f"{self.path}.{section}", text, text, fault))
        return found

    def _check_vectors(self, chosen: dict[str, frozenset[str]]) -> None:
        matrices = {parameter.name for parameter in self.inventory.parameters if _decays(parameter)}
        for text, names in chosen.items():
            factor = self.stage.weight_decay_multipliers[text]
            if factor and names and not names & matrices:
                fault = Fault(1, f"{text} selects vectors and scalars only, which get no weight decay. Remove it.")
                self.found.append(entry_finding(f"{self.path}.{WEIGHT_DECAY}", text, text, fault))


def _decays(parameter: Parameter) -> bool:
    return len(parameter.shape) > 1


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} parameters, {names[0]} first"


def _within(text: str, *, right: bool = False) -> str:
    """A selector as one side of a difference."""
    signs = ("|", " except ", " - ") if right else ("|", " except ")
    return f"({text})" if any(sign in text for sign in signs) else text
