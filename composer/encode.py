"""Graphs into plain data as a spec holds it: every field, defaults included."""

from typing import Any

import attrs

from composer.edges import Edge, Ref
from composer.graph import Graph, Node
from composer.interpolate import escape
from composer.masks import RULES
from composer.schema import VERSION, fields_by_key


def encode_graph(graph: Graph) -> dict[str, Any]:
    """The document a graph stands for, self-contained: it holds the configuration it was resolved against."""
    hf = None
    if graph.hf is not None:
        hf = encode(graph.hf) | {"config": encode(graph.hf_config)}
    return {
        "spec": VERSION,
        "name": encode(graph.name),
        "description": encode(graph.description),
        **({} if hf is None else {"hf": hf}),
        "tokens": encode(graph.tokens),
        "inputs": {name: _without_name(encode(given)) for name, given in graph.inputs.items()},
        "nodes": {name: _encode_node(node) for name, node in graph.nodes.items()},
        "edges": [_encode_edge(edge) for edge in graph.edges],
        **({"stages": encode(graph.stages)} if graph.stages else {}),
    }


def encode(value: Any) -> Any:
    """One typed value as plain data; text is escaped against interpolation."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, (Ref, *RULES)):
        return str(value)
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    cls: type = type(value)
    if attrs.has(cls):
        return {key: encode(getattr(value, field.name)) for key, field in fields_by_key(cls).items()}
    return value


def _encode_node(node: Node) -> dict[str, Any]:
    own = {} if node.checkpoint is None else {"checkpoint": encode(node.checkpoint)}
    return {"component": node.component, "weights": encode(node.weights), **own, **encode(node.config)}


def _encode_edge(edge: Edge) -> dict[str, Any]:
    return {"kind": edge.kind, **encode(edge)}


def _without_name(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "name"}
