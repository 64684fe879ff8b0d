"""Inventories on disk, as JSON: one small enough to be read in a few hundredths of a second, experts folded."""

import json
from itertools import groupby
from typing import Any

from attrs import asdict, evolve

from composer.plans.inventory import EncoderCosts, Inventory, Parameter, Polynomial

FORM = 3
"""Of the file and of what is counted: count up when the same graph must give another inventory."""


def to_json(inventory: Inventory) -> str:
    """The inventory; parameters that differ by the number of their expert alone are one row."""
    content = {
        "graph": inventory.graph,
        "name": inventory.name,
        "tied": inventory.tied,
        "problems": inventory.problems,
        "encoders": [asdict(each) for each in inventory.encoders],
        "parameters": [row for _, group in groupby(inventory.parameters, key=_stretch) for row in _folded(list(group))],
    }
    return json.dumps(content, separators=(",", ":"))


def from_json(text: str) -> Inventory:
    """What `to_json` wrote, experts one by one and in their order."""
    content = json.loads(text)
    encoders = tuple(map(_encoder, content.pop("encoders")))
    parameters: list[Parameter] = []
    for _, rows in groupby(content.pop("parameters"), key=lambda row: (row[5], row[6])):
        parameters += _unfolded(list(rows))
    problems = tuple(content.pop("problems"))
    return Inventory(**content, parameters=tuple(parameters), encoders=encoders, problems=problems)


def _encoder(row: dict[str, Any]) -> EncoderCosts:
    fields: dict[str, Any] = {
        name: Polynomial(**value) if isinstance(value, dict) else value for name, value in row.items()
    }
    fields["reads"] = tuple(fields["reads"])
    return EncoderCosts(**fields)


def _stretch(parameter: Parameter) -> tuple[Any, ...]:
    return (parameter.node, parameter.layer, parameter.expert is None)


def _folded(parameters: list[Parameter]) -> list[list[Any]]:
    """Rows [name, node, part, shape, split, layer, experts]; experts: how many, `*` in the name being the number."""
    rows: dict[Parameter, int] = {}
    for each in parameters:
        if each.expert is None:
            rows[each] = 0
            continue
        named = each.name.replace(f".local_experts.{each.expert}.", ".local_experts.*.", 1)
        row = evolve(each, name=named, expert=None)
        if rows.setdefault(row, 0) != each.expert:
            raise ValueError(f"{each.name}: experts are not numbered one after the other from 0")
        rows[row] += 1
    return [[p.name, p.node, p.part, p.shape, p.split, p.layer, count] for p, count in rows.items()]


def _unfolded(rows: list[list[Any]]) -> list[Parameter]:
    """Parameters of neighbouring rows: all of the first expert, then all of the second."""
    count = rows[0][6]
    if not count:
        return [
            Parameter(name, node, part, tuple(shape), split, layer) for name, node, part, shape, split, layer, _ in rows
        ]
    made = []
    for expert in range(count):
        for name, node, part, shape, split, layer, _ in rows:
            named = name.replace("*", str(expert), 1)
            made.append(Parameter(named, node, part, tuple(shape), split, layer, expert))
    return made
