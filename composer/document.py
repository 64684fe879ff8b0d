"""A resolved document into a graph, as far as it can be read.

Parts are read one by one, so that one broken node does not hide what is wrong with the edges: what cannot be read is
replaced by a stand-in, and findings that may come of that are left out.
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
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
from composer.stages import FreezeStage
from composer.suggestion import nearest, suggestion
from composer.tree import Tree

_HEAD = ("component", "weights", "checkpoint")
_STEP = re.compile(r"[\w-]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@define
class Reading:
    """A graph as far as it could be read.

    `stand_ins` are inputs that could not be read, `stand_in_tokens` such tokens, `loose` the ends of edges that could
    not: what checks find about how these are used is not to be trusted. If it is not `checkable`, nothing they find is.
    """

    graph: Graph
    stand_ins: set[str] = field(factory=set)
    stand_in_tokens: set[str] = field(factory=set)
    loose: set[Ref] = field(factory=set)
    edge_numbers: list[int] = field(factory=list)  # of each edge of the graph, its number in the document
    checkable: bool = True

    def doubts(self, finding: Finding) -> bool:
        """Whether a finding may come from a stand-in, or from an edge that is missing here, and not from the spec."""
        section, *rest = _STEP.findall(finding.path)
        if section == "tokens":
            return rest[0] in self.stand_in_tokens
        if section == "inputs" and rest[0] in self.stand_ins:
            return True
        if section == "edges" and rest[1:] == ["to"]:
            edge = self.graph.edges[int(rest[0])]
            return edge.target in self.loose or edge.source.owner in self.stand_ins
        return len(rest) == 1 and rest[0] in self.stand_ins | {end.owner for end in self.loose}


def read_document(tree: Tree, collector: Collector) -> Reading:
    """Read all sections, reporting problems to the collector."""
    reading = Reading(Graph(name="", hf=None), checkable=_root(tree, collector))
    values: dict[str, Any] = {"name": ""}
    for key in ("name", "description"):
        if child := tree.child(key):
            word = collector.attempt(reader_of(str), child, (key,))
            values[key] = "" if word is FAILED else word
    section = tree.child("hf")
    if section is not None and section.value is not None:
        hf = collector.attempt(reader_of(HfDocument), section, ("hf",))
        if hf is not FAILED:
            kept = attrs.asdict(hf, recurse=False, filter=lambda field, _: field.name != "config")
            values["hf"] = HfSection(**kept)
    values["tokens"] = dict(_tokens(tree, collector, reading))
    values["inputs"] = dict(_inputs(tree, collector, reading))
    values["nodes"] = dict(_nodes(tree, collector, reading))
    values["edges"] = tuple(_edges(tree, collector, reading))
    values["stages"] = dict(_stages(tree, collector, reading))
    reading.graph = Graph(**values)
    return reading


def _root(tree: Tree, collector: Collector) -> bool:
    """Report what is wrong with the sections as such; False if one is missing, so that nothing fits the others."""
    known = fields_by_key(Document)
    meant: set[str | None] = set()
    for key, child in tree.children():
        if key not in known:
            collector.report(child.key_location, (key,), f"unknown key.{suggestion(str(key), known)}")
            meant.add(nearest(str(key), known))
    missing = [key for key in ("spec", "name", "inputs", "nodes", "edges") if tree.child(key) is None]
    for key in missing:
        if key not in meant:
            description = known[key].metadata["description"]
            message = f"missing: {expected_names(known[key].type)} is required. {description}"
            collector.report(Location(tree.file, tree.line, tree.column), (key,), message)
    if version := tree.child("spec"):
        number = collector.attempt(reader_of(int), version, ("spec",))
        if number not in (VERSION, FAILED):
            collector.report(version.location, ("spec",), f"version {number} is not known. Write spec: {VERSION}.")
    rows = tree.child("edges")
    mappings = [tree.child(key) for key in ("tokens", "inputs", "nodes", "stages")]
    sound = all(section is None or section.is_mapping for section in mappings)
    return sound and (rows is None or rows.is_sequence) and not meant and not {*missing} & {"inputs", "nodes", "edges"}


def _section(tree: Tree, name: str, collector: Collector, *, row: bool = False) -> Iterator[tuple[str | int, Tree]]:
    section = tree.child(name)
    if section is None:
        return
    if section.is_sequence if row else section.is_mapping:
        yield from section.children()
    else:
        collector.attempt(reader_of(list[Any] if row else dict[str, Any]), section, (name,))


def _named(tree: Tree, name: str, collector: Collector, reading: Reading) -> Iterator[tuple[str, Tree]]:
    for key, child in _section(tree, name, collector):
        word = str(key)
        if not _NAME.fullmatch(word):
            message = "no name: letters, digits and _ are allowed, and a letter comes first."
            collector.report(child.key_location, (name, word), message)
            reading.checkable = False
        yield word, child


def _tokens(tree: Tree, collector: Collector, reading: Reading) -> Iterator[tuple[str, int]]:
    for number, (name, child) in enumerate(_named(tree, "tokens", collector, reading)):
        token = collector.attempt(reader_of(int), child, ("tokens", name))
        if token is FAILED:
            token = -1 - number
            reading.stand_in_tokens.add(name)
        yield name, token


def _inputs(tree: Tree, collector: Collector, reading: Reading) -> Iterator[tuple[str, Input]]:
    for name, child in _named(tree, "inputs", collector, reading):
        given = collector.attempt(_read_input, child, ("inputs", name))
        if given is FAILED:
            reading.stand_ins.add(name)
            given = Input(name, "any", ())
        yield name, given


def _nodes(tree: Tree, collector: Collector, reading: Reading) -> Iterator[tuple[str, Node]]:
    for name, child in _named(tree, "nodes", collector, reading):
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
                reading.loose.add(Ref.parse(end.value))


def _stages(tree: Tree, collector: Collector, reading: Reading) -> Iterator[tuple[str, FreezeStage]]:
    checkable = reading.checkable  # nothing is wrong elsewhere if a stage has a bad name
    for name, child in _named(tree, "stages", collector, reading):
        stage = collector.attempt(reader_of(FreezeStage), child, ("stages", name))
        if stage is not FAILED:
            yield name, stage
    reading.checkable = checkable


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
        return Node(str(path[-1]), node.component, None, node.weights, node.checkpoint)
    read_config = partial(read_fields, known[component.value].config, beside=(*_HEAD, "when"))
    config = collector.attempt(read_config, tree, path)
    collector.close()
    return Node(str(path[-1]), node.component, config, node.weights, node.checkpoint)


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


register_reader(Input, _read_input, "a mapping")
register_reader(Node, _read_node, "a mapping")
register_reader(Edge, _read_edge, "a mapping")
register_reader(Ref, _read_ref, "text")
register_reader(masks.Rule, _read_rule, "a mask rule")
