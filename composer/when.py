"""`when: condition` on any mapping of a spec: false removes the mapping from its parent, true removes the condition.

    hf.field              true unless the field is null, false, 0 or empty
    not hf.field          the opposite
    hf.field == literal   also !=
    literal in hf.field   the field is a list that holds the literal

A field that the configuration does not have is an error, not false: a misspelt condition must not drop a part.
"""

import re
from collections.abc import Mapping
from typing import Any

from composer.errors import Problem
from composer.interpolate import HfFieldError, get_field
from composer.path import Path, format_path
from composer.source import scalar
from composer.tree import Tree

_FIELD = r"(?P<field>hf(?:\.[\w-]+|\[[0-9]+\])+)"
_FORMS = (
    re.compile(rf"(?P<operator>not\s+)?{_FIELD}"),
    re.compile(rf"{_FIELD}\s*(?P<operator>==|!=)\s*(?P<literal>\S.*)"),
    re.compile(rf"(?P<literal>\S.*?)\s+(?P<operator>in)\s+{_FIELD}"),
)


class ConditionError(ValueError):
    """A condition in none of the four forms, or about a field that does not exist."""


def holds(condition: Any, hf: Mapping[str, Any] | None) -> bool:
    """Decide one condition.

    Raises:
        ConditionError: text in none of the forms, or a field the configuration lacks.
    """
    text = condition.strip() if isinstance(condition, str) else ""
    match = next((found for form in _FORMS if (found := form.fullmatch(text))), None)
    if match is None:
        raise ConditionError(
            f"{condition!r} is no condition. Write hf.field, not hf.field, hf.field == value, hf.field != value "
            "or value in hf.field."
        )
    groups = match.groupdict()
    try:
        value = get_field(groups["field"], hf)
    except HfFieldError as error:
        raise ConditionError(str(error)) from None
    operator = (groups["operator"] or "").strip()
    if operator in ("", "not"):
        return bool(value) is not bool(operator)
    literal = _literal(groups["literal"])
    if operator == "in":
        return isinstance(value, list) and any(_same(item, literal) for item in value)
    return _same(value, literal) is (operator == "==")


def dropped(tree: Tree, hf: Mapping[str, Any] | None, path: Path) -> tuple[Path, str] | None:
    """The outermost section on the way to a path that its condition drops, with the condition; None: there is none."""
    here: Tree | None = tree
    for depth, step in enumerate(path):
        here = here.child(step) if here else None
        condition = here.child("when") if here and here.is_mapping else None
        if condition is not None and isinstance(condition.value, str) and not _may_hold(condition.value, hf):
            return path[: depth + 1], condition.value
    return None


def _may_hold(condition: str, hf: Mapping[str, Any] | None) -> bool:
    try:
        return holds(condition, hf)
    except ConditionError:
        return True  # reported where conditions are decided


def prune(tree: Tree, hf: Mapping[str, Any] | None) -> tuple[Tree, list[Problem]]:
    """Decide every condition below the root and keep what holds.

    Returns:
        The tree without conditions, and a problem for each undecidable one, whose mapping stays.
    """
    problems: list[Problem] = []
    if tree.is_mapping:
        return tree.with_value(_children(tree, hf, (), problems)), problems
    return tree, problems


def _prune(tree: Tree, hf: Mapping[str, Any] | None, path: Path, problems: list[Problem]) -> Tree | None:
    if tree.hf is not None:
        return tree
    if type(tree.value) is dict:
        condition = tree.value.get("when")
        if condition is None:
            return tree.with_value(_children(tree, hf, path, problems))
        try:
            if not holds(condition.value, hf):
                return None
        except ConditionError as error:
            problems.append(Problem(condition.location, format_path((*path, "when")), str(error)))
        kept = {key: child for key, child in tree.value.items() if key != "when"}
        return tree.with_value(_children(tree.with_value(kept), hf, path, problems))
    if type(tree.value) is list:
        pairs = ((_prune(child, hf, (*path, i), problems)) for i, child in enumerate(tree.value))
        return tree.with_value([child for child in pairs if child is not None])
    return tree


def _children(tree: Tree, hf: Mapping[str, Any] | None, path: Path, problems: list[Problem]) -> dict[str, Tree]:
    pairs = ((key, _prune(child, hf, (*path, key), problems)) for key, child in tree.value.items())
    return {key: child for key, child in pairs if child is not None}


def _literal(text: str) -> Any:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return scalar(text)


def _same(left: Any, right: Any) -> bool:
    """Equality in which true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)
