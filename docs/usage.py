"""What the language can say, and which shipped specs say it: read from the classes and from the specs themselves.

`docs/generate.py` makes a page of it, and tests/test_smallness.py holds the page of reasons against it.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs

from composer import Graph, load, masks
from composer.edges import KINDS, Ref
from composer.load import maybe_config_file
from composer.registry import Ports, components
from composer.schema import fields_by_key

SPECS = sorted((Path(__file__).parents[1] / "specs").glob("*.yaml"))
OFF = ("none", "default", "plain")
"""Words of a field that say that nothing is done."""
TERMS = {
    "causal": masks.Causal,
    "bidirectional": masks.Bidirectional,
    "window(size)": masks.Window,
    "chunk(size)": masks.Chunk,
    "same_run(token, ...)": masks.SameRun,
    "same_document": masks.SameDocument,
    "prefix(token)": masks.Prefix,
    "~a": masks.Not,
    "a & b": masks.And,
    "a | b": masks.Or,
}
TERM_OF = {rule: term for term, rule in TERMS.items()}


@cache
def sayable() -> tuple[str, ...]:
    """Edge kinds and components, each with its options, and mask terms, in the order of the reference."""
    found = []
    for kind, edge in KINDS.items():
        found += [f"edge {kind}", *_sayable(edge, kind)]
    found += [f"mask {term}" for term in TERMS]
    for name, component in components().items():
        if component.implementation.startswith("components."):
            found += [f"component {name}", *_sayable(component.config, _short(name))]
    return tuple(dict.fromkeys(found))


@cache
def said() -> dict[str, tuple[str, ...]]:
    """What specs say, with the specs that say it; each with every configuration that it names."""
    found: dict[str, set[str]] = {}
    for spec in SPECS:
        for graph in _graphs(spec):
            for name in _said_by(graph):
                found.setdefault(name, set()).add(spec.stem)
    return {name: tuple(sorted(specs)) for name, specs in found.items()}


@cache
def with_most_ports() -> dict[str, tuple[str, Ports]]:
    """Every component that a spec uses: the first spec with a node of it that has the most ports, and these."""
    found: dict[str, tuple[str, Ports]] = {}
    for spec in SPECS:
        for node in load(spec).nodes.values():
            ports = components()[node.component].ports(node.config)
            known = found.get(node.component)
            if known is None or _count(ports) > _count(known[1]):
                found[node.component] = (spec.stem, ports)
    return found


def _count(ports: Ports) -> int:
    return len(ports.inputs) + len(ports.outputs)


def _graphs(spec: Path) -> Iterator[Graph]:
    graph = load(spec)
    yield graph
    for name in graph.hf.also if graph.hf else ():
        file = maybe_config_file(spec, name)
        if file is None:
            raise FileNotFoundError(name)
        yield load(spec, hf=json.loads(file.read_text(encoding="utf-8")))


def _said_by(graph: Graph) -> Iterator[str]:
    for edge in graph.edges:
        yield from (f"edge {edge.kind}", *_said(edge, edge.kind))
        for rule in getattr(edge, "rules", {}).values():
            yield from (f"mask {TERM_OF[type(term)]}" for term in _terms(rule))
    for node in graph.nodes.values():
        yield from (f"component {node.component}", *_said(node.config, _short(node.component)))


def _terms(rule: masks.Rule) -> Iterator[masks.Rule]:
    yield rule
    for attribute in attrs.fields(type(rule)):
        if type(inner := getattr(rule, attribute.name)) in TERM_OF:
            yield from _terms(inner)


def _said(value: Any, path: str) -> Iterator[str]:
    """`path` of every field of a section that is not at its default, and `path=word` of every word."""
    for key, attribute in fields_by_key(type(value)).items():
        found, here = getattr(value, attribute.name), _place(path, key)
        default: Any = attribute.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        if isinstance(found, str) and _words(attribute):
            yield f"{here}={found}"
        elif found != default:
            yield here
        inside = (
            list(found.values()) if isinstance(found, dict) else list(found) if isinstance(found, tuple) else [found]
        )
        for item in inside:
            if attrs.has(type(item)) and type(item) not in (Ref, *TERM_OF):
                yield from _said(item, here)


def _sayable(cls: type, path: str) -> Iterator[str]:
    """The same for everything that a section could say."""
    for key, attribute in fields_by_key(cls).items():
        here = _place(path, key)
        if chosen := _words(attribute):
            yield from (f"{here}={word}" for word in chosen if word not in OFF)
        elif attribute.default is not attrs.NOTHING:
            yield here
        for part in _classes(attribute.type):
            yield from _sayable(part, here)


def _short(component: str) -> str:
    return "decoder" if component == "language.gpt" else component


def _place(path: str, key: str) -> str:
    """A feed-forward half is the same part in a layer kind and by itself."""
    return f"{path}.{key}".replace("layers.ffns", "layers.kinds.ffn")


def _words(attribute: "attrs.Attribute[Any]") -> tuple[str, ...]:
    """The words a field chooses from; none if it is not of that sort."""
    if chosen := attribute.metadata.get("enum"):
        return tuple(chosen)
    annotation = attribute.type
    is_choice = get_origin(annotation) is Literal
    return tuple(word for word in get_args(annotation) if isinstance(word, str)) if is_choice else ()


def _classes(annotation: Any) -> list[type]:
    if attrs.has(annotation) and annotation is not Ref:
        return [annotation]
    return [cls for argument in get_args(annotation) for cls in _classes(argument)]
