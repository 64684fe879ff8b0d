"""A drafted document as YAML, every value that has one with its source behind it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from adapters.init.draft import Said

PLAIN = re.compile(r"[A-Za-z_$][\w.${}\[\]/>=& |~()*+-]*")
MEANS_SOMETHING_ELSE = {"null", "true", "false", "yes", "no", "on", "off", "~", ""}
WIDTH = 120


def to_yaml(document: dict[str, Any]) -> str:
    """Block YAML; `Said` values get their source as a comment."""
    lines: list[str] = []
    for key, value in document.items():
        if lines and isinstance(_bare(value), dict | list):
            lines.append("")
        lines += _entry(key, value, 0)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, depth: int) -> Iterator[str]:
    source = value.source if isinstance(value, Said) else ""
    yield from _named(f"{'  ' * depth}{key}:", _bare(value), source, depth)


def _named(head: str, value: Any, source: str, depth: int) -> Iterator[str]:
    if _is_short(value):
        yield from _commented(f"{head} {_flow(value)}", source, depth)
        return
    yield from _commented(head, source, depth)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(key, item, depth + 1)
    else:
        for item in value:
            yield from _item(item, depth + 1)


def _item(value: Any, depth: int) -> Iterator[str]:
    source, bare = (value.source, value.value) if isinstance(value, Said) else ("", value)
    if not isinstance(bare, dict) or (_is_short(bare) and _has_no_sources(bare)):
        yield from _commented(f"{'  ' * depth}- {_flow(bare)}", source, depth)
        return
    if source:
        yield f"{'  ' * depth}# {source}"
    lines = [line for key, item in bare.items() for line in _entry(key, item, depth + 1)]
    first, *others = lines
    while first.lstrip().startswith("#"):
        yield first
        first, *others = others
    yield f"{'  ' * depth}- {first.lstrip()}"
    yield from others


def _commented(text: str, source: str, depth: int) -> Iterator[str]:
    """Behind the value if the line has room, else above it."""
    if source and len(text) + len(source) + 3 > WIDTH:
        yield from (f"{'  ' * depth}# {line}" for line in _wrapped(source, WIDTH - 2 * depth - 2))
        source = ""
    yield f"{text} # {source}" if source else text


def _wrapped(text: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(text, width)


def comment(text: str) -> str:
    """Comment lines of a paragraph."""
    return "".join(f"# {line}\n" for line in _wrapped(text, WIDTH - 2))


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Said) else value


def _is_short(value: Any) -> bool:
    if isinstance(value, dict):
        nested = any(isinstance(_bare(item), dict) for item in value.values())
        return not value or (_has_no_sources(value) and not nested and len(_flow(value)) <= 80)
    if isinstance(value, list | tuple):
        return _has_no_sources(value) and not any(isinstance(item, dict) for item in value)
    return True


def _has_no_sources(value: Any) -> bool:
    if isinstance(value, Said):
        return False
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return all(_has_no_sources(item) for item in items)


def _flow(value: Any, *, inside: bool = False) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(_bare(item), inside=True)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(_bare(item), inside=True) for item in value) + "]"
    if isinstance(value, str):
        return _text(value, inside=inside)
    return json.dumps(value)


def _text(value: str, *, inside: bool) -> str:
    risky = inside and any(letter in value for letter in "{}[],")
    plain = PLAIN.fullmatch(value) and value.lower() not in MEANS_SOMETHING_ELSE and not risky and ": " not in value
    return value if plain else json.dumps(value, ensure_ascii=False)
