"""Stages of training by themselves: the text of their selectors, and that they train something."""

from collections.abc import Iterator, Mapping

from composer.finding import Finding
from composer.graph import Graph
from composer.plans.selector_checks import Fault, read_selector
from composer.plans.selectors import Scope
from composer.registry import Component
from composer.stages import FreezeStage

MULTIPLIERS = ("lr_multipliers", "weight_decay_multipliers")


def stage_findings(graph: Graph, components: Mapping[str, Component]) -> Iterator[Finding]:
    """What is wrong with the stages of a spec, as far as it shows without the model's parameters."""
    known = {name: components.get(node.component) for name, node in graph.nodes.items()}
    scope = Scope({name: component.role if component else "" for name, component in known.items()})
    for name, stage in graph.stages.items():
        path = f"stages.{name}"
        yield from value_findings(stage, path)
        for section, key, text in entries(stage):
            for fault in read_selector(text, scope)[1]:
                yield entry_finding(f"{path}.{section}", key, text, fault)


def entries(stage: FreezeStage) -> Iterator[tuple[str, int | str, str]]:
    """Every selector of a stage: its section, its key there, its text."""
    for section in ("trains", "freezes"):
        for index, text in enumerate(getattr(stage, section)):
            yield section, index, text
    for section in MULTIPLIERS:
        for text in getattr(stage, section):
            yield section, text, text


def value_findings(stage: FreezeStage, path: str) -> Iterator[Finding]:
    """Nothing that trains, and factors that no rate can have."""
    if not stage.trains:
        yield Finding(f"{path}.trains", "no selector: the stage would train nothing.")
    for section in MULTIPLIERS:
        for text, factor in getattr(stage, section).items():
            if not 0 <= factor < float("inf"):
                yield entry_finding(
                    f"{path}.{section}", text, text, Fault(1, f"{factor:g} is no factor: 0 or more is.")
                )


def entry_finding(section: str, key: int | str, text: str, fault: Fault) -> Finding:
    """A finding about one selector: an item of a list, or the key of a mapping."""
    if isinstance(key, int):
        return Finding(f"{section}[{key}]", fault.message, column=fault.column)
    message = fault.message
    if fault.column > 1:  # the place of a key is where it begins
        end = message[-1] if message.endswith(("?", ".")) else ""
        message = f"{message.removesuffix(end)} (column {fault.column} of {text!r}){end}"
    return Finding(f"{section}.{key}", message, key=(*section.split("."), key))
