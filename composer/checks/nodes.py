"""Nodes by themselves: known components, sound configurations, one decoder."""

from collections.abc import Iterator, Mapping

from attrs import evolve

from composer.finding import Finding
from composer.graph import Graph
from composer.registry import Component
from composer.suggestion import suggestion


def node_findings(graph: Graph, components: Mapping[str, Component]) -> Iterator[Finding]:
    """Unknown components, names used twice, what components say about their own configuration, number of decoders."""
    for name, node in graph.nodes.items():
        path = f"nodes.{name}"
        if name in graph.inputs:
            yield Finding(path, f"{name} is an input of the spec too ({{0}}).", (f"inputs.{name}",))
        component = components.get(node.component)
        if component is None:
            hint = suggestion(node.component, components)
            yield Finding(f"{path}.component", f"unknown component {node.component!r}.{hint}")
        elif component.check is not None and node.config is not None:
            for found in component.check(node.config):
                related = tuple(f"{path}.{place}" for place in found.related)
                yield evolve(found, path=f"{path}.{found.path}", related=related)
    yield from _decoders(graph, components)


def _decoders(graph: Graph, components: Mapping[str, Component]) -> Iterator[Finding]:
    used = [(name, components.get(node.component)) for name, node in graph.nodes.items()]
    decoders = [name for name, component in used if component and component.role == "decoder"]
    for name in decoders[1:]:
        message = f"a second decoder: {decoders[0]} is one ({{0}}), and a model has one."
        yield Finding(f"nodes.{name}", message, (f"nodes.{decoders[0]}",))
    if not decoders and all(component for _, component in used):
        known = ", ".join(name for name, component in components.items() if component.role == "decoder")
        yield Finding("nodes", f"no decoder. Add a node whose component is one: {known or 'none is installed'}.")
