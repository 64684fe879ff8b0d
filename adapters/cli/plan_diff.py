"""`vlm-composer plan diff`: whether two plans are the same experiment."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from adapters.cli.failure import UsageError

if TYPE_CHECKING:
    from adapters.plans.differences import Verdict
    from adapters.training.settings import Training
    from composer.plans.plan_file import ParallelPlan

EXIT_SAME, EXIT_NEW = 0, 1
MEANINGS = {
    "experiment": "what is computed",
    "execution": "how it is computed",
    "expected": "what the plans say, and for which hardware",
    "record": "names, logs and checkpoints",
}


def diff(
    first: Annotated[Path, Parameter(help="A plan file, or a training file.")],
    second: Annotated[Path, Parameter(help="Another of the same kind.")],
    /,
    *,
    format: Annotated[Literal["table", "json"], Parameter(help="How to print it.")] = "table",
) -> int:
    """Say whether two plans, or two training files, are the same experiment, and all that differs.

    Exit status 0: the same experiment, only how it is computed differs. 1: a new experiment.
    """
    from adapters.plans.differences import ABSENT, compare

    both = _read_both(first, second)
    verdict = compare(*both)
    if format == "json":
        found = [
            {"path": each.path, "group": each.group, "first": each.first, "second": each.second}
            for each in verdict.differences
        ]
        whole = {
            "same_experiment": verdict.same_experiment,
            "first": str(first),
            "second": str(second),
            "differences": found,
        }
        print(json.dumps(whole, indent=2, default=lambda value: {"absent": True} if value is ABSENT else str(value)))
    else:
        _print(verdict, (first.name, second.name), both)
    return EXIT_SAME if verdict.same_experiment else EXIT_NEW


def _read_both(first: Path, second: Path) -> "tuple[Any, Any]":
    from composer.plans.plan_file import ParallelPlan

    found = _read(first), _read(second)
    kinds = ["a plan" if isinstance(each, ParallelPlan) else "a training file" for each in found]
    if kinds[0] != kinds[1]:
        raise UsageError(f"{first} is {kinds[0]}, {second} {kinds[1]}: compare two of a kind.")
    return found


def _read(path: Path) -> "ParallelPlan | Training":
    """A plan if the file has a key `plan`, else a training file."""
    from adapters.plans.reading import read_plan
    from adapters.training.settings_file import load_settings
    from composer.source import read_tree

    if path.is_file():
        tree, problems = read_tree(path.read_text(encoding="utf-8", errors="replace"), str(path))
        if not problems and tree.is_mapping and tree.child("plan") is None:
            return load_settings(path)
    return read_plan(path).plan


def _print(verdict: "Verdict", names: tuple[str, str], both: "tuple[Any, Any]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(_headline(verdict))
    for group, meaning in MEANINGS.items():
        found = verdict.of(group)  # type: ignore[arg-type]
        if not found:
            continue
        table = Table(title=f"{group}: {meaning}", title_justify="left", title_style="bold")
        table.add_column("field")
        for name in names:
            table.add_column(escape(name), overflow="fold")
        rows = [(each.path, _words(each.first), _words(each.second)) for each in found]
        for row in rows if group != "expected" else _expected(rows, *both):
            table.add_row(*map(escape, row))
        console.print(table)


def _headline(verdict: "Verdict") -> str:
    if not verdict.differences:
        return "The same experiment: nothing differs."
    if verdict.same_experiment:
        return "The same experiment: only how it is computed differs, or what is said of it."
    number = len(verdict.of("experiment"))
    return f"A new experiment: what is computed differs in {number} field{'s' * (number > 1)}."


def _expected(rows: "list[tuple[str, str, str]]", first: Any, second: Any) -> "list[tuple[str, str, str]]":
    """Estimates hold a hundred numbers: of them the three that people ask for, and whatever is no estimate."""
    from composer.plans import words

    def summary(plan: "ParallelPlan") -> dict[str, str]:
        estimate = plan.estimate
        return {
            "step time": words.seconds(estimate.time.total),
            "tokens per second": f"{estimate.tokens_per_second.likely:,.0f}",
            "memory of the fullest GPU": words.gib(estimate.fullest.memory.total),
        }

    before, after = summary(first), summary(second)
    shown = [(name, before[name], after[name]) for name in before if before[name] != after[name]]
    shown += [row for row in rows if row[0].startswith(("hardware.", "binding"))]
    return [*shown, (f"all {len(rows)}: --format json", "", "")]


def _words(value: Any) -> str:
    from adapters.plans.differences import ABSENT
    from composer.emit import text

    if value is ABSENT:
        return "absent"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else text(value)
