"""Whether two plans, or two training files, are the same experiment: what differs, and what each difference means.

A field belongs to one of four groups:

experiment   what is computed: model, what trains, data, batch, optimizer, number format. Another value is another
             experiment, and its losses need not be the same.
execution    how it is computed: layout, micro-batch, recomputation, engine, kernels. Losses are the same but for the
             order in which numbers are rounded.
expected     what a plan says of an execution, and the hardware it was made for. It changes nothing that is computed.
record       names, logs, checkpoints. It changes nothing that is computed.

Precision is of the experiment: bf16 rounds every parameter and activation to 8 bits, which changes losses by more than
any reordering does. Whose kernels compute (`implementation`) is execution: the formats are the same.
"""

from collections.abc import Iterator
from typing import Any, Literal

import attrs
from attrs import evolve, frozen

from adapters.training.settings import Stage, Training
from composer.plans.answer import Estimate
from composer.plans.execution import Execution
from composer.plans.job import Job
from composer.plans.plan_file import Frozen, ParallelPlan, Source

Group = Literal["experiment", "execution", "expected", "record"]

# A field that is not a group has fields of its own, which are classified under their class.
_WITHIN: Literal["within"] = "within"
_GROUPS: dict[type, dict[Group | Literal["within"], tuple[str, ...]]] = {
    ParallelPlan: {
        _WITHIN: ("model", "frozen", "job", "estimate"),
        "experiment": ("nodes",),
        "expected": ("hardware", "binding", "alternatives", "rejected", "space", "stages", "notes"),
        "record": ("plan",),
    },
    Source: {"experiment": ("hash",), "record": ("spec", "hf", "set")},
    Frozen: {"experiment": ("plan", "stage", "selectors")},
    Job: {
        "experiment": ("seq", "global_batch", "images", "image_tokens", "precision"),
        "execution": ("gpus", "implementation"),
    },
    Estimate: {_WITHIN: ("execution",), "expected": ("memory", "time", "tokens_per_second", "mfu")},
    Execution: {
        "execution": ("gpus", "layout", "micro_batch", "distributed_optimizer", "overlap", "engine", "zero"),
    },
    Training: {
        _WITHIN: ("stages",),
        "experiment": (
            "freeze_plan",
            "global_batch",
            "max_length",
            "group_by_length",
            "seed",
            "precision",
            "optimizer",
            "pictures",
            "chat",
        ),
        "execution": (
            "micro_batch",
            "engine",
            "transformer_impl",
            "layout",
            "distributed_optimizer",
            "overlap",
            "zero",
        ),
        "record": ("print_every", "checkpoints"),
    },
    Stage: {"experiment": ("steps", "trains", "lr", "warmup_steps"), "record": ("name",)},
}


@frozen
class Absent:
    """Where one side has no such field."""


ABSENT = Absent()


@frozen
class Difference:
    """A field with two values; `ABSENT` where a side has none."""

    path: str
    group: Group
    first: Any
    second: Any


@frozen
class Verdict:
    """All that differs, in the order of the fields."""

    differences: tuple[Difference, ...]

    @property
    def same_experiment(self) -> bool:
        """Whether no difference is of the experiment."""
        return not any(difference.group == "experiment" for difference in self.differences)

    def of(self, group: Group) -> tuple[Difference, ...]:
        """Those of one group."""
        return tuple(difference for difference in self.differences if difference.group == group)


def compare(first: ParallelPlan | Training, second: ParallelPlan | Training) -> Verdict:
    """Everything in which two plans, or two training files, differ.

    Raises:
        TypeError: one of each; or a field that no group has.
    """
    if type(first) is not type(second):
        raise TypeError("a plan and a training file have different fields")
    if isinstance(first, ParallelPlan) and isinstance(second, ParallelPlan) and not (first.nodes and second.nodes):
        # One does not say what its selectors come to: the selectors themselves are compared.
        first, second = evolve(first, nodes=()), evolve(second, nodes=())
    before, after = dict(_leaves(first, "", None)), dict(_leaves(second, "", None))
    found = []
    for path in dict.fromkeys([*before, *after]):
        group, own = before.get(path, (None, ABSENT))
        other_group, other = after.get(path, (None, ABSENT))
        if own != other:
            found.append(Difference(path, group or other_group or "experiment", own, other))
    return Verdict(tuple(found))


def group_of(owner: type, name: str) -> Group | Literal["within"]:
    """The group of a field, or `within` if its own fields have groups.

    Raises:
        TypeError: it is in none, or in several.
    """
    known = _GROUPS[owner].items() if owner in _GROUPS else ()
    groups: list[Group | Literal["within"]] = [group for group, names in known if name in names]
    if len(groups) != 1:
        raise TypeError(f"{owner.__name__}.{name} is in {len(groups)} groups of differences: it belongs in one")
    return groups[0]


def _leaves(value: Any, path: str, group: Group | None) -> Iterator[tuple[str, tuple[Group, Any]]]:
    """(path, (group, value)) of every field that has no fields of its own."""
    if attrs.has(type(value)):
        for each in attrs.fields(type(value)):
            own = group or group_of(type(value), each.name)
            inherited = None if own == _WITHIN else own
            yield from _leaves(getattr(value, each.name), f"{path}.{each.name}" if path else each.name, inherited)
    elif isinstance(value, tuple) and any(attrs.has(type(item)) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]", group)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}", group)
    else:
        yield path, (group or "experiment", value)
