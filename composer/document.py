"""A resolved document into a graph, as far as it can be read.

Parts are read one by one, so that one broken node does not hide what is wrong with the edges: what cannot be read is
replaced by a stand-in, and whoever touches a stand-in is `doubtful`.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from attrs import define, field

from composer import masks
from composer.decode import (
    FAILED,
    Collector,
    DecodeError,
    expected_names,
    fail,
    read_fields,
    reader_of,
    register_reader,
)
from composer.edges import KINDS, Edge, Ref
from composer.errors import Location, Problem
from composer.finding import Finding
from composer.graph import Graph, HfSection, Input, Node
from composer.path import Path, format_path
from composer.registry import components
from composer.schema import VERSION, Document, HfDocument, InputDocument, NodeDocument, fields_by_key
from composer.suggestion import suggestion
from composer.tree import Tree

_HEAD = ("component", "weights")
_STEP = re.compile(r"[\w-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@define
class Reading:
    """A graph with stand-ins for what could not be read; findings about a `doubtful` name are not to be trusted."""

    graph: Graph
    doubtful: set[str] = field(factory=set)
    edge_numbers: list[int] = field(factory=list)  # of each edge of the graph, its number in the document
    checkable: bool = True

    def doubts(self, finding: Finding) -> bool:
        """Whether a finding may come from a stand-in and not from the spec."""
        return bool(self.doubtful) and any(self._doubts(path) for path in (finding.path, *finding.related))

    def _doubts(self, path: str) -> bool:
        section, *rest = _STEP.findall(path)
        if section == "edges" and rest:
            edge = self.graph.edges[int(rest[0])]
            return bool(self.doubtful & {edge.source.owner, edge.target.owner})
        return section in self.doubtful or not rest or rest[0] in self.doubtful


def read_document(tree: Tree, collector: Collector) -> Reading:
    """Read all sections, reporting problems to the collector."""
    _root(tree, collector)
    reading = Reading(Graph(name="", hf=None))
    values: dict[str, Any] = {}
    for key in ("name", "description"):
        if child := tree.child(key):
            word = collector.attempt(reader_of(str), child, (key,))
            values[key] = "" if word is FAILED else word
    section = tree.child("hf")
    if section is not None and section.value is not None:
        hf = collector.attempt(reader_of(HfDocument), section, ("hf",))
        if hf is not FAILED:
            values["hf"] = HfSection(hf.architecture, hf.requires, hf.default)
    values["tokens"] = dict(_tokens(tree, collector, reading))
    values["inputs"] = dict(_inputs(tree, collector, reading))
    values["nodes"] = dict(_nodes(tree, collector))
    values["edges"] = tuple(_edges(tree, collector, reading))
    reading.graph = Graph(**({"name": ""} | values))
    return reading


def _root(tree: Tree, collector: Collector) -> None:
    known = fields_by_key(Document)
    for key, child in tree.children():
        if key not in known:
            collector.report(child.key_location, (key,), f"unknown key.{suggestion(str(key), known)}")
    for key in ("spec", "name", "inputs", "nodes", "edges"):
        if tree.child(key) is None:
            description = known[key].metadata["description"]
            message = f"missing: {expected_names(known[key].type)} is required. {description}"
            collector.report(Location(tree.file, tree.line, tree.column), (key,), message)
    if version := tree.child("spec"):
        number = collector.attempt(reader_of(int), version, ("spec",))
        if number not in (VERSION, FAILED):
            collector.report(version.location, ("spec",), f"version {number} is not known. Write spec: {VERSION}.")


def _section(tree: Tree, name: str, collector: Collector, *, row: bool = False) -> Iterator[tuple[str | int, Tree]]:
    section = tree.child(name)
    if section is None:
        return
    if section.is_sequence if row else section.is_mapping:
        yield from section.children()
    else:
        collector.attempt(reader_of(list[Any] if row else dict[str, Any]), section, (name,))


def _named(tree: Tree, name: str, collector: Collector) -> Iterator[tuple[str, Tree]]:
    for key, child in _section(tree, name, collector):
        word = str(key)
        if not _NAME.fullmatch(word):
            message = "no name: letters, digits and _ are allowed, and a letter comes first."
            collector.report(child.key_location, (name, word), message)
        yield word, child


def _tokens(tree: Tree, collector: Collector, reading: Reading) -> Iterator[tuple[str, int]]:
    for number, (name, child) in enumerate(_named(tree, "tokens", collector)):
        token = collector.attempt(reader_of(int), child, ("tokens", name))
        if token is FAILED:
            reading.doubtful.add("tokens")
            token = -1 - number
        yield name, token


def _inputs(tree: Tree, collector: Collector, reading: Reading) -> Iterator[tuple[str, Input]]:
    for name, child in _named(tree, "inputs", collector):
        given = collector.attempt(_read_input, child, ("inputs", name))
        if given is FAILED:
            reading.doubtful.add(name)
            given = Input(name, "any", ())
        yield name, given


def _nodes(tree: Tree, collector: Collector) -> Iterator[tuple[str, Node]]:
    for name, child in _named(tree, "nodes", collector):
        node = collector.attempt(_read_node, child, ("nodes", name))
        if node is FAILED:
            component = child.child("component")
            word = component.value if component and isinstance(component.value, str) else ""
            # Without a component that can be named, any known one keeps checks from reporting it a second time.
            node = Node(name, word or next(iter(components()), ""), None)
        yield name, node


def _edges(tree: Tree, collector: Collector, reading: Reading) -> Iterator[Edge]:
    for number, child in _section(tree, "edges", collector, row=True):
        edge = collector.attempt(_read_edge, child, ("edges", number))
        if edge is not FAILED:
            reading.edge_numbers.append(int(number))
            yield edge
            continue
        for key in ("from", "to"):
            end = child.child(key)
            if end is None or not isinstance(end.value, str):
                reading.checkable = False
            else:
                reading.doubtful.add(Ref.parse(end.value).owner)
    if tree.child("edges") is None:
        reading.checkable = False


def _read_input(tree: Tree, path: Path) -> Input:
    section: InputDocument = reader_of(InputDocument)(tree, path)
    return Input(str(path[-1]), section.type, section.shape, section.optional)


def _read_node(tree: Tree, path: Path) -> Node:
    if not tree.is_mapping:
        reader_of(dict[str, Any])(tree, path)
    head = tree.with_value({key: child for key, child in tree.children() if key in _HEAD})
    collector = Collector()
    node = collector.attempt(reader_of(NodeDocument), head, path)
    component = tree.child("component")
    known = components()
    if component is None or component.value not in known:
        # What is wrong with the component's name is a finding of the checks.
        collector.close()
        return Node(str(path[-1]), node.component, None, node.weights)
    read_config = partial(read_fields, known[component.value].config, beside=(*_HEAD, "when"))
    config = collector.attempt(read_config, tree, path)
    collector.close()
    return Node(str(path[-1]), node.component, config, node.weights)


def _read_edge(tree: Tree, path: Path) -> Edge:
    if not tree.is_mapping:
        reader_of(dict[str, Any])(tree, path)
    kind = tree.child("kind")
    if kind is None:
        message = f"missing: the kind of the edge. Known: {', '.join(KINDS)}."
        raise fail(tree, (*path, "kind"), message)
    reader_of(str)(kind, (*path, "kind"))
    if kind.value not in KINDS:
        raise fail(kind, (*path, "kind"), f"unknown edge kind {kind.value!r}.{suggestion(kind.value, KINDS)}")
    edge: Edge = read_fields(KINDS[kind.value], tree, path, beside=("kind", "when"))
    return edge


def _read_ref(tree: Tree, path: Path) -> Ref:
    if isinstance(tree.value, Ref):
        return tree.value
    text = reader_of(str)(tree, path)
    parts = text.split(".")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise fail(tree, path, f"{text!r} is no end of an edge. Write node.port, or the name of a node or an input.")
    return Ref.parse(text)


def _read_rule(tree: Tree, path: Path) -> masks.Rule:
    """A rule is text, or a list of {rule, when} of which one is left once conditions are decided."""
    if tree.is_sequence:
        alternatives = [child for _, child in tree.children()]
        if len(alternatives) != 1:
            left = f"{len(alternatives)} rules" if alternatives else "no rule"
            raise fail(tree, path, f"the conditions leave {left}; exactly one must hold.")
        rule = _read_alternative(alternatives[0], (*path, 0))
        tree.become(alternatives[0].value["rule"])
        return rule
    text = reader_of(str)(tree, path)
    try:
        return masks.parse(text)
    except masks.MaskSyntaxError as error:
        place = tree.character(error.column - 1)
        where = "" if place else f" (column {error.column} of {text!r})"
        message = f"no mask rule: {error.message.rstrip('.')}{where}{'' if error.message.endswith('?') else '.'}"
        raise DecodeError([Problem(place or tree.location, format_path(path), message)]) from None


def _read_alternative(tree: Tree, path: Path) -> masks.Rule:
    rule = tree.child("rule")
    if not tree.is_mapping or rule is None or len(tree.value) != 1:
        raise fail(tree, path, "an alternative is {rule: ..., when: ...}.")
    return _read_rule(rule, (*path, "rule"))


for _type, _reader in ((Input, _read_input), (Node, _read_node), (Edge, _read_edge), (Ref, _read_ref)):
    register_reader(_type, _reader)
register_reader(masks.Rule, _read_rule)
