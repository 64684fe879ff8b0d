"""Trees into typed values, without coercion, collecting every problem with its place.

A reader is compiled once per type. It takes a tree and the path it stands at, and gives the value or raises
`DecodeError` with all problems below that tree. Text never becomes a number and a number never text; an integer is
taken where a float is expected. (A converter of plain data would lose the positions, which are the point here.)
"""

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

import attrs

from composer.errors import Location, Problem
from composer.merge import merge_shared
from composer.path import Path, format_path
from composer.schema import fields_by_key, merged_keys
from composer.source import scalar
from composer.suggestion import nearest, suggestion
from composer.tree import UNRESOLVED, Tree

type Reader = Callable[[Tree, Path], Any]

_SCALARS: dict[type, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    types.NoneType: "null",
}
_special: dict[Any, Reader] = {}
_names: dict[Any, str] = {}


class Failed:
    """What `Collector.attempt` gives for a part that cannot be read."""


FAILED = Failed()


class DecodeError(Exception):
    """What is wrong below one tree. Empty if all of it was reported before (an unresolved `${...}`)."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


class Collector:
    """Gathers the problems of parts that are read one after the other."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.failed = False

    def attempt(self, read: Reader, tree: Tree, path: Path) -> Any:
        """The value of one part, or FAILED with its problems remembered."""
        try:
            return read(tree, path)
        except DecodeError as error:
            self.problems += error.problems
            self.failed = True
            return FAILED

    def report(self, location: Location, path: Path, message: str) -> None:
        """One more problem."""
        self.problems.append(Problem(location, format_path(path), message))
        self.failed = True

    def close(self) -> None:
        """Raise what was gathered.

        Raises:
            DecodeError: anything went wrong.
        """
        if self.failed:
            raise DecodeError(self.problems)


def fail(tree: Tree, path: Path, message: str) -> DecodeError:
    """The error for one value."""
    return DecodeError([Problem(tree.location, format_path(path), message)])


def register_reader(expected: Any, reader: Reader, name: str) -> None:
    """Read a type by its own reader instead of by its structure; `name` is what errors call it."""
    _special[expected] = reader
    _names[expected] = name


@cache
def reader_of(expected: Any) -> Reader:
    """The reader of a type: scalars, Literal, unions, tuple, list, dict with text keys, attrs classes, Any.

    Raises:
        TypeError: any other type; a mistake in a component's declaration.
    """
    if expected in _special:
        return _special[expected]
    if isinstance(expected, TypeAliasType):
        return reader_of(expected.__value__)
    if expected is Any:
        return _read_any
    if expected is None or expected in _SCALARS:
        return _scalar_reader(types.NoneType if expected is None else expected)
    if attrs.has(expected):
        return _class_reader(expected)
    origin, args = get_origin(expected), get_args(expected)
    if origin is Literal:
        return _literal_reader(args)
    if origin in (Union, types.UnionType):
        return _union_reader(args)
    if origin is dict and args[0] is str:
        return _dict_reader(args[1])
    if origin is list or (origin is tuple and args[1:] == (...,)):
        return _row_reader(origin, args[0])
    raise TypeError(f"{expected} cannot stand in a spec")


def describe(value: Any) -> str:
    """A value as an error message names it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:57]!r}..."
    return f"the number {value}"


def expected_names(expected: Any) -> str:
    """A type as an error message names it."""
    if expected in _names:
        return _names[expected]
    if isinstance(expected, TypeAliasType):
        return expected_names(expected.__value__)
    if expected in _SCALARS:
        return _SCALARS[expected]
    if get_origin(expected) in (Union, types.UnionType):
        names = list(dict.fromkeys(expected_names(member) for member in get_args(expected)))
        return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    if get_origin(expected) is Literal:
        return " or ".join(map(str, get_args(expected)))
    return "a list" if get_origin(expected) in (list, tuple) else "a mapping"


def _mismatch(tree: Tree, path: Path, expected: str, accepted: tuple[type, ...] = ()) -> DecodeError:
    value = tree.value
    if value is UNRESOLVED:
        return DecodeError([])
    hint = ""
    if isinstance(value, str) and type(scalar(value)) in accepted:
        hint = " Remove the quotes." if tree.hf is None else ""
    source = f" from {tree.hf}" if tree.hf else ""
    return fail(tree, path, f"{expected} is expected, not {describe(value)}{source}.{hint}")


def _read_any(tree: Tree, path: Path) -> Any:
    value = tree.plain()
    if _holds_unresolved(value):
        raise DecodeError([])
    return value


def _holds_unresolved(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_unresolved, value.values()))
    return any(map(_holds_unresolved, value)) if isinstance(value, list) else value is UNRESOLVED


def _scalar_reader(expected: type) -> Reader:
    accepted = (int, float) if expected is float else (expected,)

    def read(tree: Tree, path: Path) -> Any:
        value = tree.value
        if type(value) not in accepted:
            raise _mismatch(tree, path, _SCALARS[expected], accepted)
        if expected is not float:
            return value
        if type(value) is int and abs(value) > 2**1000:
            raise fail(tree, path, "the number is too large for a float.")
        return float(value)

    return read


def _literal_reader(choices: tuple[Any, ...]) -> Reader:
    def read(tree: Tree, path: Path) -> Any:
        for choice in choices:
            if type(choice) is type(tree.value) and choice == tree.value:
                return choice
        if not isinstance(tree.value, str):
            raise _mismatch(tree, path, " or ".join(map(str, choices)))
        raise fail(tree, path, f"{tree.value!r} is no choice here.{suggestion(tree.value, map(str, choices))}")

    return read


def _union_reader(members: tuple[Any, ...]) -> Reader:
    def suits(member: Any, value: Any) -> bool:
        if member in _SCALARS:
            return type(value) is member or (member is float and type(value) is int)
        if get_origin(member) is Literal:
            return not isinstance(value, dict | list)
        return isinstance(value, list if get_origin(member) in (list, tuple) else dict) or member is Any

    def read(tree: Tree, path: Path) -> Any:
        fitting = [member for member in members if suits(member, tree.value)]
        # An integer in `int | float` stays one.
        fitting.sort(key=lambda member: member is not type(tree.value))
        errors = []
        for member in fitting:
            try:
                return reader_of(member)(tree, path)
            except DecodeError as error:
                errors.append(error)
        if errors:
            raise min(errors, key=lambda error: len(error.problems))
        scalars = tuple(member for member in members if member in _SCALARS)
        raise _mismatch(tree, path, expected_names(Union[members]), scalars)  # noqa: UP007  (members are known at run time only)

    return read


def _row_reader(make: type[list[Any]] | type[tuple[Any, ...]], item: Any) -> Reader:
    def read(tree: Tree, path: Path) -> Any:
        if not tree.is_sequence:
            raise _mismatch(tree, path, "a list")
        read_item, values, collector = reader_of(item), list[Any](), Collector()
        for index, child in tree.children():
            values.append(collector.attempt(read_item, child, (*path, index)))
        collector.close()
        return make(values)

    return read


def _dict_reader(item: Any) -> Reader:
    def read(tree: Tree, path: Path) -> dict[str, Any]:
        if not tree.is_mapping:
            raise _mismatch(tree, path, "a mapping")
        read_item, collector = reader_of(item), Collector()
        values: dict[str, Any] = {}
        for key, child in tree.children():
            values[str(key)] = collector.attempt(read_item, child, (*path, key))
        collector.close()
        return values

    return read


def _class_reader(cls: type) -> Reader:
    def read(tree: Tree, path: Path) -> Any:
        return read_fields(cls, tree, path)

    return read


def read_fields(cls: type, tree: Tree, path: Path, *, beside: tuple[str, ...] = ()) -> Any:
    """An instance of an attrs class from a mapping; the keys `beside` it belong to somebody else.

    Raises:
        DecodeError: unknown and missing keys, and all problems of the fields.
    """
    if not tree.is_mapping:
        raise _mismatch(tree, path, "a mapping")
    merge_shared(cls, tree)
    known, shared = fields_by_key(cls), merged_keys(cls)
    arguments: dict[str, Any] = {}
    meant: set[str | None] = set()
    collector = Collector()
    for key, child in tree.children():
        attribute = known.get(str(key))
        if attribute is not None:
            expected: Any = attribute.type
            reader = reader_of(expected)
            arguments[attribute.alias or attribute.name] = collector.attempt(reader, child, (*path, key))
        elif key in shared and not child.is_mapping:
            collector.problems += _mismatch(child, (*path, key), "a mapping").problems
            collector.failed = True
        elif key not in beside and key not in shared:
            hint = suggestion(str(key), (*known, *beside, *shared))
            meant.add(nearest(str(key), known))
            collector.report(child.key_location, (*path, key), f"unknown key.{hint}")
    for key, attribute in known.items():
        if attribute.default is attrs.NOTHING and tree.child(key) is None and key not in meant:
            collector.report(tree.key_location, (*path, key), f"missing: {_wanted(attribute)}")
    collector.close()
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise fail(tree, path, str(error.args[0] if error.args else error)) from None


def _wanted(attribute: "attrs.Attribute[Any]") -> str:
    description = attribute.metadata.get("description", "")
    kind = expected_names(attribute.type) if attribute.type is not Any else "a value"
    return f"{kind} is required. {description}".strip()
