"""YAML text into a tree of values that know their file, line and column.

The YAML 1.2 core schema, read by libyaml: `1e-4` is a float, `on` and `yes` are strings. Keys are strings and unique.
Tags are errors, so nothing in a document can name code. Aliases repeat a value; they may not contain themselves.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from attrs import evolve
from yaml._yaml import CParser

from composer.errors import Location, Problem, SpecError
from composer.tree import UNRESOLVED, Tree

__all__ = ["Location", "Problem", "SpecError", "parse", "read_tree", "scalar"]

_MAX_VALUES = 1_000_000
_MAX_DEPTH = 60
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 4000
_UNQUOTED = re.compile(r"\$\{[^{}\s]*\}")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}


def parse(text: str, file: str) -> Tree:
    """Read one YAML document.

    Raises:
        SpecError: everything that is wrong with it as YAML.
    """
    tree, problems = read_tree(text, file)
    if problems:
        raise SpecError(problems, {file: text})
    return tree


def read_tree(text: str, file: str) -> tuple[Tree, list[Problem]]:
    """Read one YAML document as far as possible.

    Args:
        text: the document.
        file: the name that locations carry.

    Returns:
        The tree, and the problems that left it usable (repeated keys, tags, keys that are no strings).

    Raises:
        SpecError: text that is no YAML, or no single document.
    """
    try:
        reader = _Reader(text, file)
        return reader.document(), reader.problems
    except yaml.MarkedYAMLError as error:
        raise SpecError([_syntax_problem(error, text, file)], {file: text}) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Location(file, before.count("\n") + 1, error.position - before.rfind("\n"))
        message = f"the character #x{error.character:04x} may not stand in a YAML file."
        raise SpecError([Problem(place, "", message)], {file: text}) from None
    except _Unusable as error:
        raise SpecError([error.problem], {file: text}) from None


def scalar(text: str) -> Any:
    """The value of a plain scalar after the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


class _Unusable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Reader:
    """Builds the tree from libyaml's events.

    Not from `compose`: it follows nesting on the C stack and crashes the interpreter on a hostile file.
    """

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._parser = CParser(text)
        self._anchors: dict[str, tuple[Tree, int] | None] = {}
        self._num_values = 0

    def document(self) -> Tree:
        events = self._events()
        first = next(events)
        if isinstance(first, yaml.StreamEndEvent):
            raise _Unusable(Problem(Location(self.file, 1, 1), "", "the file holds no document."))
        tree = self._value(next(events), events, 0)
        next(events)
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._unusable(after, "a second document starts here; a file holds one.")
        return tree

    def _events(self) -> Iterator[Any]:
        parser = self._parser
        parser.get_event()
        while (event := parser.get_event()) is not None:
            yield event

    def _value(self, event: Any, events: Iterator[Any], depth: int, key: tuple[int, int] | None = None) -> Tree:
        mark = event.start_mark
        kind = type(event)
        self._num_values += 1
        if kind is yaml.AliasEvent:
            return self._alias(event, key)
        if depth > _MAX_DEPTH:
            raise self._unusable(event, f"nested more than {_MAX_DEPTH} levels deep.")
        tagged = event.tag is not None and event.tag != "!"
        if tagged:
            self._report(event, f"the tag {event.tag} is not understood: only plain values are. Remove it.")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        before = self._num_values
        value: Any
        inset = None
        if kind is yaml.ScalarEvent:
            value = scalar(event.value) if event.implicit[0] else event.value
            extra = event.end_mark.index - mark.index - len(event.value)
            inset = extra // 2 if extra == (0 if event.implicit[0] else 2) else None
        elif kind is yaml.MappingStartEvent:
            value = self._mapping(events, depth)
        else:
            value = self._sequence(events, depth)
        tree = Tree(value, self.file, mark.line + 1, mark.column + 1, key, None, inset)
        if tagged:
            tree.value = UNRESOLVED
        if event.anchor is not None:
            self._anchors[event.anchor] = (tree, self._num_values - before + 1)
        return tree

    def _alias(self, event: Any, key: tuple[int, int] | None) -> Tree:
        if event.anchor not in self._anchors:
            raise self._unusable(event, f"the alias *{event.anchor} has no anchor &{event.anchor} before it.")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._unusable(event, f"the alias *{event.anchor} stands inside the value it repeats.")
        tree, num_values = anchored
        self._num_values += num_values
        if self._num_values > _MAX_VALUES:
            raise self._unusable(event, f"aliases repeat values until there are more than {_MAX_VALUES}.")
        return evolve(tree, key=key)

    def _sequence(self, events: Iterator[Any], depth: int) -> list[Tree]:
        items = []
        while type(event := next(events)) is not yaml.SequenceEndEvent:
            items.append(self._value(event, events, depth + 1))
        return items

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Tree]:
        children: dict[str, Tree] = {}
        while type(event := next(events)) is not yaml.MappingEndEvent:
            name = self._key(event, events, depth)
            mark = event.start_mark
            child = self._value(next(events), events, depth + 1, (mark.line + 1, mark.column + 1))
            if name in children:
                first = children[name].key_location
                self._report(event, f"the key {name!r} is already in this mapping ({first}). Keep one.")
            elif name is not None:
                children[name] = child
        return children

    def _key(self, event: Any, events: Iterator[Any], depth: int) -> str | None:
        tree = self._value(event, events, depth + 1)
        if event.__class__ is yaml.ScalarEvent and event.value == "<<" and event.implicit[0]:
            self._report(event, "merge keys (<<) left YAML with version 1.2. Write the keys out.")
            return None
        if isinstance(tree.value, str):
            return tree.value
        written = f" {event.value}" if isinstance(event, yaml.ScalarEvent) else ""
        self._report(event, f"the key{written} is no string." + (f' Quote it: "{written[1:]}".' if written else ""))
        return None

    def _report(self, event: Any, message: str) -> None:
        self.problems.append(self._problem(event, message))

    def _unusable(self, event: Any, message: str) -> _Unusable:
        return _Unusable(self._problem(event, message))

    def _problem(self, event: Any, message: str) -> Problem:
        return Problem(Location(self.file, event.start_mark.line + 1, event.start_mark.column + 1), "", message)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(Location(file, 1, 1), "", f"no YAML: {error.problem}.")
    if text[mark.index - 1 : mark.index + 1] == "${":
        # libyaml stops at the brace: inside { } and [ ] it ends a plain scalar.
        written = _UNQUOTED.match(text, mark.index - 1)
        example = written[0] if written else "${...}"
        place = Location(file, mark.line + 1, mark.column)
        return Problem(place, "", f'{example} must be quoted inside {{ }} and [ ]. Write "{example}".')
    place = Location(file, mark.line + 1, mark.column + 1)
    message = f"no YAML: {error.problem}"
    if text[mark.index : mark.index + 1] == "\t":
        message = "no YAML: a tab. Indent with spaces"
    elif error.context and error.context_mark and error.context_mark.line != mark.line and not place.on_command_line:
        message += f" {error.context} that starts at {file}:{error.context_mark.line + 1}"
    elif error.context:
        message += f" {error.context}"
    return Problem(place, "", f"{message}.")
