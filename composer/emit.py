"""Plain data as YAML text that reads back to the same data, with a comment behind any leaf that is to have one."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from composer.path import Path
from composer.source import scalar

type Comment = Callable[[Path], str | None]

_WIDTH = 120
_INDENT = "  "
_PLAIN = re.compile(r"[A-Za-z_](?:[\w ./+>=<~&|()-]*[\w)])?", re.ASCII)
_UNPRINTED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def emit(data: Mapping[str, Any], comment: Comment = lambda path: None, shared: Mapping[str, Any] | None = None) -> str:
    """YAML text of a mapping.

    Args:
        data: mappings with text keys, lists, text, numbers, truth values, null.
        comment: what to write behind the leaf at a path; a list of scalars is a leaf.
        shared: mappings by name that are written once, with an anchor, and repeated as an alias.
    """
    return "".join(f"{line}\n" for line in _Emitter(comment, dict(shared or {})).mapping(data, (), ""))


class _Emitter:
    def __init__(self, comment: Comment, shared: dict[str, Any]) -> None:
        self.comment = comment
        self.shared = shared
        self.written: set[str] = set()

    def mapping(self, data: Mapping[str, Any], path: Path, indent: str) -> Iterator[str]:
        for key, value in data.items():
            yield from self.entry(f"{indent}{text(key)}:", value, (*path, key), indent + _INDENT)

    def sequence(self, data: list[Any], path: Path, indent: str) -> Iterator[str]:
        for index, value in enumerate(data):
            lines = list(self.entry(f"{indent}-", value, (*path, index), indent + _INDENT))
            if isinstance(value, Mapping | list) and len(lines) > 1 and lines[0] == f"{indent}-":
                # The first line of a block goes beside its dash.
                lines[:2] = [f"{indent}- {lines[1].lstrip()}"]
            yield from lines

    def entry(self, head: str, value: Any, path: Path, indent: str) -> Iterator[str]:
        if isinstance(value, Mapping) and value:
            name = next((name for name, known in self.shared.items() if known == value), None)
            if name in self.written:
                yield f"{head} *{name}"
                return
            if name is not None:
                self.written.add(name)
                head += f" &{name}"
            yield head
            yield from self.mapping(value, path, indent)
        elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
            yield head
            yield from self.sequence(value, path, indent)
        else:
            yield from self.leaf(head, value, path, indent)

    def leaf(self, head: str, value: Any, path: Path, indent: str) -> Iterator[str]:
        lines = _flow(head, value, indent) if isinstance(value, list) else [f"{head} {text(value)}"]
        if comment := self.comment(path):
            lines[-1] += f"  # {comment}"
        yield from lines


def text(value: Any) -> str:
    """A scalar, or an empty mapping, as YAML."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf"}.get(repr(value), repr(value))
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and scalar(value) == value:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return _UNPRINTED.sub(lambda char: f"\\u{ord(char[0]):04x}", quoted)
    return "{}" if isinstance(value, Mapping) else str(value)


def _flow(head: str, items: list[Any], indent: str) -> list[str]:
    """`[a, b, c]`, on as many lines as it takes."""
    lines = [f"{head} ["]
    for number, item in enumerate(items):
        word = text(item) + ("," if number + 1 < len(items) else "]")
        glue = "" if lines[-1].endswith("[") else " "
        if len(lines[-1]) + len(glue) + len(word) > _WIDTH:
            lines.append(indent + word)
        else:
            lines[-1] += glue + word
    return lines if items else [f"{head} []"]
