"""Edges with the ports they join."""

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Self

from attrs import evolve, frozen

from composer.edges import Edge, Ref, Site
from composer.finding import Finding
from composer.graph import IN, OUT, Graph
from composer.registry import PORT_TYPES, Component, Port, Ports
from composer.suggestion import nearest, suggestion

IDS = "input_ids"  # the one input the model itself reads


@frozen
class Joint:
    """One edge and the ports at its ends; None where a port is unknown.

    `edge` has both references spelled out (`vision_tower.out`), and misspelled ones replaced by the likely one, so
    that one slip is one finding.
    """

    path: str
    edge: Edge
    source: Port | None
    target: Port | None


@frozen
class Wiring:
    """A graph whose edges have been resolved, and what could not be."""

    graph: Graph
    components: Mapping[str, Component]
    ports: Mapping[str, Ports]
    joints: tuple[Joint, ...]
    unresolved: tuple[Finding, ...]

    @cached_property
    def types(self) -> frozenset[str]:
        """The types an input may have: the known words, and those of the nodes' ports."""
        ports = (port for node in self.ports.values() for port in node.inputs.values())
        return frozenset((*PORT_TYPES, *(port.type for port in ports)))

    @classmethod
    def of(cls, graph: Graph, components: Mapping[str, Component]) -> Self:
        """Resolve all edges of a graph."""
        ports = {
            node.name: components[node.component].ports(node.config)
            for node in graph.nodes.values()
            if node.component in components and node.config is not None
        }
        unresolved: list[Finding] = []
        joints = []
        for number, edge in enumerate(graph.edges):
            path = f"edges[{number}]"
            source, start = _start(edge.source, graph, ports, f"{path}.from", unresolved)
            target, end = _end(edge.target, graph, ports, f"{path}.to", unresolved)
            joints.append(Joint(path, evolve(edge, source=source, target=target), start, end))
        return cls(graph, components, ports, tuple(joints), tuple(unresolved))

    def site(self, joint: Joint) -> Site:
        """What the edge's own check may know."""
        node = self.graph.nodes.get(joint.edge.target.owner)
        component = node and self.components.get(node.component)
        kinds, fixed = None, {}
        if node and component and component.layer_kinds and node.config is not None:
            kinds = component.layer_kinds(node.config)
            fixed = dict(component.fixed_rules(node.config)) if component.fixed_rules else {}
        return Site(
            joint.path,
            self.graph.tokens,
            kinds,
            fixed,
            source_shape=joint.source.shape if joint.source else None,
            target_shape=joint.target.shape if joint.target else None,
            inputs={name: given.type for name, given in self.graph.inputs.items()},
        )


def _start(
    ref: Ref, graph: Graph, ports: Mapping[str, Ports], path: str, unresolved: list[Finding]
) -> tuple[Ref, Port | None]:
    owner = ref.owner
    if owner not in graph.inputs and owner not in graph.nodes:
        owner = _unknown(f"no input or node {owner!r}.", owner, [*graph.inputs, *graph.nodes], path, unresolved)
    if owner in graph.inputs and owner not in graph.nodes:
        if ref.port is not None:
            unresolved.append(Finding(path, f"{owner} is an input of the spec and has no port {ref.port!r}.", ()))
        given = graph.inputs[owner]
        origin = tuple(f"shape[{i}]" for i in range(len(given.shape)))
        return Ref(owner), Port(owner, given.type, given.shape, not given.optional, origin)
    return _port(
        Ref(owner, ref.port or OUT), ports[owner].outputs if owner in ports else None, "output", path, unresolved
    )


def _end(
    ref: Ref, graph: Graph, ports: Mapping[str, Ports], path: str, unresolved: list[Finding]
) -> tuple[Ref, Port | None]:
    owner = ref.owner
    if owner in graph.inputs and owner not in graph.nodes:
        unresolved.append(
            Finding(path, f"{owner} is an input of the spec ({{0}}); edges end at nodes.", (f"inputs.{owner}",))
        )
        return ref, None
    if owner not in graph.nodes:
        owner = _unknown(f"no node {owner!r}.", owner, graph.nodes, path, unresolved)
    return _port(Ref(owner, ref.port or IN), ports[owner].inputs if owner in ports else None, "input", path, unresolved)


def _port(
    ref: Ref, known: Mapping[str, Port] | None, side: str, path: str, unresolved: list[Finding]
) -> tuple[Ref, Port | None]:
    if known is None or ref.port is None:  # the node itself is unknown
        return ref, None
    name = ref.port
    if name not in known:
        name = _unknown(f"{ref.owner} has no {side} {name!r}.", name, known, path, unresolved)
        return Ref(ref.owner, name), None
    return ref, known[name]


def _unknown(message: str, word: str, known: Iterable[str], path: str, unresolved: list[Finding]) -> str:
    hint, nearest = _likely(word, tuple(known))
    unresolved.append(Finding(path, message + hint))
    return nearest


@lru_cache(maxsize=64)
def _likely(word: str, known: tuple[str, ...]) -> tuple[str, str]:
    """What to say of an unknown word, and the word that was meant; cached, as one slip may be in many edges."""
    return suggestion(word, known), nearest(word, known) or word
