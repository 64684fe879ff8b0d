"""A graph for other programs."""

import json
from typing import Any

from composer.encode import encode
from composer.graph import Graph
from composer.registry import Port


def to_json(graph: Graph) -> str:
    """Inputs, nodes with their ports, edges with their fields, and the order nodes run in, as JSON text.

    For configurations, see `dump`.
    """
    picture = {
        "name": graph.name,
        "description": graph.description,
        "hf": graph.hf and {"architecture": graph.architecture, "requires": graph.hf.requires},
        "tokens": graph.tokens,
        "inputs": {
            given.name: {"type": given.type, "shape": list(given.shape), "optional": given.optional}
            for given in graph.inputs.values()
        },
        "nodes": {name: _node(graph, name) for name in graph.nodes},
        "edges": [{"kind": edge.kind, **encode(edge)} for edge in graph.edges],
        "order": list(graph.order()),
    }
    return json.dumps(picture, indent=2, ensure_ascii=False) + "\n"


def _node(graph: Graph, name: str) -> dict[str, Any]:
    node, component, ports = graph.nodes[name], graph.component(name), graph.ports(name)
    kinds = {"layer_kinds": list(component.layer_kinds(node.config))} if component.layer_kinds else {}
    return {
        "component": component.name,
        "role": component.role,
        "weights": node.weights,
        **kinds,
        "inputs": {port.name: _port(port) for port in ports.inputs.values()},
        "outputs": {port.name: _port(port) for port in ports.outputs.values()},
    }


def _port(port: Port) -> dict[str, Any]:
    return {"type": port.type, "shape": list(port.shape), "required": port.required}
