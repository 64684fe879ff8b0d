"""`${hf.field}`: values of the checkpoint's configuration inside a spec.

A scalar that is exactly one `${...}` takes the field's value and type, whatever its depth; inside longer text the field
is formatted in. `$${` stands for a literal `${`.
"""

import re
from collections.abc import Mapping
from typing import Any

from composer.errors import Problem
from composer.path import Path, PathSyntaxError, format_path, parse_path
from composer.suggestion import suggestion
from composer.tree import UNRESOLVED, Tree

_MARK = re.compile(r"\$\$\{|\$\{([^{}]*)\}?")


class HfFieldError(LookupError):
    """A field that the configuration does not have, or text that names none."""


def get_field(name: str, hf: Mapping[str, Any] | None) -> Any:
    """The value of `hf.a.b[2]` in a plain configuration.

    Args:
        name: the field, starting with `hf`.
        hf: the plain configuration; None for a spec without an `hf` section.

    Raises:
        HfFieldError: no such field, with a suggestion.
    """
    try:
        root, *steps = parse_path(name)
    except PathSyntaxError as error:
        raise HfFieldError(str(error)) from None
    if root != "hf":
        raise HfFieldError(f"{name} names no field: only hf can be read. Write hf.{name}, or plain text.")
    if hf is None:
        raise HfFieldError(f"{name} has nothing to read from: the spec has no hf section.")
    value: Any = hf
    for depth, step in enumerate(steps):
        if not _holds(value, step):
            raise HfFieldError(_absent(("hf", *steps[:depth]), step, value))
        value = value[step]
    return value


def _holds(value: Any, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, Mapping) and step in value


def _absent(parent: Path, step: str | int, value: Any) -> str:
    name = format_path((*parent, step))
    if isinstance(value, Mapping):
        return f"the configuration has no {name}.{suggestion(str(step), map(str, value))}"
    if isinstance(value, list):
        return f"the configuration has no {name}: {format_path(parent)} is a list of {len(value)}."
    return f"the configuration has no {name}: {format_path(parent)} is {'null' if value is None else repr(value)}."


def interpolate(tree: Tree, hf: Mapping[str, Any] | None, path: Path = ()) -> tuple[Tree, list[Problem]]:
    """Replace every `${...}` of a tree.

    Returns:
        The tree, unresolvable scalars holding UNRESOLVED, and one problem for each.
    """
    problems: list[Problem] = []
    return _interpolate(tree, hf, path, problems), problems


def _interpolate(tree: Tree, hf: Mapping[str, Any] | None, path: Path, problems: list[Problem]) -> Tree:
    value = tree.value
    if tree.hf is not None:
        return tree
    if type(value) is str and "${" in value:
        try:
            return _text(tree, hf)
        except HfFieldError as error:
            problems.append(Problem(tree.location, format_path(path), str(error)))
            return tree.with_value(UNRESOLVED)
    if type(value) is dict:
        return tree.with_value({key: _interpolate(child, hf, (*path, key), problems) for key, child in value.items()})
    if type(value) is list:
        return tree.with_value([_interpolate(child, hf, (*path, i), problems) for i, child in enumerate(value)])
    return tree


def _text(tree: Tree, hf: Mapping[str, Any] | None) -> Tree:
    text: str = tree.value
    whole = _MARK.fullmatch(text)
    if whole and not text.startswith("$$"):
        field = _field_name(whole)
        return Tree(get_field(field, hf), tree.file, tree.line, tree.column, tree.key, hf=field)
    return tree.with_value(_MARK.sub(lambda mark: _formatted(mark, hf), text))


def _formatted(mark: re.Match[str], hf: Mapping[str, Any] | None) -> str:
    if mark[0] == "$${":
        return "${"
    field = _field_name(mark)
    value = get_field(field, hf)
    if isinstance(value, Mapping | list) or value is None:
        kind = "null" if value is None else "a mapping" if isinstance(value, Mapping) else "a list"
        raise HfFieldError(f"{field} is {kind} and has no text form: only numbers, truth values and text have.")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field_name(mark: re.Match[str]) -> str:
    name = mark[1].strip()
    if not mark[0].endswith("}"):
        raise HfFieldError(f"{mark[0]!r} is not closed. Write ${{{name or 'hf.field'}}}, or $${{ for a literal ${{.")
    return name


def escape(text: str) -> str:
    """Text that interpolation turns back into `text`."""
    return text.replace("${", "$${")
