"""`--set path=value`: one value of a spec, or of the configuration it reads, changed from outside.

`nodes.embed_vision.in_dim=64` changes the spec, `hf.text_config.hidden_size=64` the plain configuration (only
`hf.architecture`, `hf.requires`, `hf.default` and `hf.config` belong to the spec). The value is YAML.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from composer.errors import Location, Problem, SpecError
from composer.path import Path, PathSyntaxError, format_path, parse_path
from composer.schema import HfDocument, fields_by_key, keys_below
from composer.source import read_tree
from composer.suggestion import suggestion
from composer.tree import Tree


@frozen
class Override:
    """One `path=value`, parsed."""

    text: str
    path: Path
    value: Tree

    @property
    def on_hf(self) -> bool:
        """True if it changes the configuration and not the spec."""
        return self.path[0] == "hf" and not (len(self.path) > 1 and self.path[1] in fields_by_key(HfDocument))


class OverrideError(Exception):
    """A path that leads nowhere."""


def parse_overrides(texts: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Parse all `path=value` texts; what cannot be parsed is a problem."""
    overrides: list[Override] = []
    problems: list[Problem] = []
    for text in texts:
        place = Location(f"--set {text}", 1, 1)
        path, equals, value = text.partition("=")
        if not equals:
            problems.append(Problem(place, "", "no value. Write path=value."))
            continue
        try:
            tree, found = read_tree(value or "null", place.file)
            problems += found
            overrides.append(Override(text, parse_path(path.strip()), tree))
        except PathSyntaxError as error:
            problems.append(Problem(place, "", str(error)))
        except SpecError as error:
            problems += error.problems
    return overrides, problems


def apply_to_tree(tree: Tree, overrides: Sequence[Override]) -> tuple[Tree, list[Problem]]:
    """Change a spec, before its conditions and interpolations are resolved.

    A key that is not written yet is added if the schema knows it. Indices count the items as they are written.
    """
    problems: list[Problem] = []
    for override in overrides:
        if not override.on_hf:
            try:
                tree = _with(tree, override, 0, tree)
            except OverrideError as error:
                problems.append(Problem(override.value.location, "", str(error)))
    return tree, problems


def apply_to_hf(hf: Mapping[str, Any], overrides: Sequence[Override]) -> tuple[dict[str, Any], list[Problem]]:
    """A plain configuration with changed fields; each must exist."""
    changed = dict(hf)
    problems: list[Problem] = []
    for override in overrides:
        if override.on_hf:
            try:
                changed = _with_field(changed, override, 1)
            except OverrideError as error:
                problems.append(Problem(override.value.location, "", str(error)))
    return changed, problems


def _with(tree: Tree, override: Override, depth: int, root: Tree) -> Tree:
    path, value = override.path, override.value
    if depth == len(path):
        return value
    step, here = path[depth], format_path(path[:depth])
    child = tree.child(step)
    if tree.is_sequence:
        if child is None:
            raise OverrideError(f"{here} is a list of {len(tree.value)}: there is no {format_path(path[: depth + 1])}.")
        items = list(tree.value)
        items[int(step)] = _with(child, override, depth + 1, root)
        return tree.with_value(items)
    if not tree.is_mapping or not isinstance(step, str):
        raise OverrideError(_no_way_into(tree, here, path[depth:]))
    if child is None:
        keys = keys_below(root, path[:depth])
        known = {*tree.value, *(keys or ())}
        is_last = depth + 1 == len(path)
        if (keys is not None and step not in keys) or (keys is None and not is_last):
            raise OverrideError(f"there is no {format_path(path[: depth + 1])}.{suggestion(step, known)}")
        child = Tree({}, value.file, value.line, value.column)
    return tree.with_value(tree.value | {step: _with(child, override, depth + 1, root)})


def _no_way_into(tree: Tree, here: str, rest: Path) -> str:
    if isinstance(tree.value, str) and tree.value.startswith("${") and tree.value.endswith("}"):
        instead = tree.value[2:-1] + format_path(rest, after_name=True)
        return f"{here} is read from the configuration ({tree.value}). Set {instead} instead."
    kind = "a mapping" if tree.is_mapping else "one value"
    return f"{here or 'the spec'} is {kind}: there is no {here}{format_path(rest[:1], after_name=True)}."


def _with_field(value: Any, override: Override, depth: int) -> Any:
    if len(override.path) == 1:
        raise OverrideError("hf is the whole configuration. Name a field, as in hf.text_config.hidden_size.")
    if depth == len(override.path):
        return override.value.plain()
    step, here = override.path[depth], format_path(override.path[:depth])
    there = format_path(override.path[: depth + 1])
    if isinstance(value, Mapping):
        if step not in value:
            raise OverrideError(f"the configuration has no {there}.{suggestion(str(step), map(str, value))}")
        return {**value, step: _with_field(value[step], override, depth + 1)}
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return [_with_field(item, override, depth + 1) if i == step else item for i, item in enumerate(value)]
    kind = f"a list of {len(value)}" if isinstance(value, list) else "one value"
    raise OverrideError(f"the configuration has no {there}: {here} is {kind}.")
