"""What every picture of a graph shows: boxes in layers, arrows between them."""

from collections.abc import Iterable
from typing import Self

from attrs import field, frozen

from composer.edges import DataEdge, Edge, EmbedEdge, InjectEdge, MaskEdge, PositionEdge, ScatterEdge, ShareEdge
from composer.edges.embed import SQRT_HIDDEN_SIZE
from composer.graph import IN, OUT, Graph
from composer.masks import Rule
from composer.registry import Port


@frozen
class Box:
    """An input (role `input`) or a node, with the ports that are in use."""

    name: str
    role: str
    kind: str  # a node's component, an input's type
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rules: dict[str, Rule] = field(factory=dict)  # by layer kind, in the order of the layers
    shared: tuple[str, ...] = ()  # "output_weight = embedding_weight"


@frozen
class Arrow:
    """An edge between two boxes."""

    kind: str
    label: str
    source: str
    source_port: str
    target: str
    target_port: str


@frozen
class Outline:
    """Boxes by name, each in the last layer before whatever reads it; arrows in the order of the spec."""

    boxes: dict[str, Box]
    layers: tuple[tuple[str, ...], ...]
    arrows: tuple[Arrow, ...]

    @classmethod
    def of(cls, graph: Graph) -> Self:
        """The outline of a graph that has been checked."""
        arrows = tuple(_arrow(graph, edge) for edge in graph.edges if not isinstance(edge, ShareEdge))
        boxes = {name: _input_box(graph, name) for name in graph.inputs}
        boxes |= {name: _node_box(graph, name) for name in graph.nodes}
        return cls(boxes, _layers(graph, arrows), arrows)


def label(edge: Edge) -> str:
    """An edge in a few words."""
    words = [edge.kind]
    if isinstance(edge, EmbedEdge) and edge.scale != 1.0:
        words.append("× √hidden" if edge.scale == SQRT_HIDDEN_SIZE else f"× {edge.scale}")
    elif isinstance(edge, ScatterEdge):
        words += ["add"] * (edge.mode == "add") + ["at", ", ".join(edge.at)]
    elif isinstance(edge, InjectEdge):
        words += ["at", ", ".join(edge.at)]
        words += [] if edge.after is None else ["after", ", ".join(map(str, edge.after))]
    elif isinstance(edge, DataEdge) and edge.pack:
        words = [edge.kind + ",", ", ".join(map(str, edge.pack))]
    elif isinstance(edge, PositionEdge):
        words += [f"+ {edge.offset}"] * bool(edge.offset)
    return " ".join(words)


def shape_text(shape: Iterable[str | int]) -> str:
    """A shape as `[batch, seq]`."""
    return f"[{', '.join(map(str, shape))}]"


def _arrow(graph: Graph, edge: Edge) -> Arrow:
    source_port = "" if edge.source.owner in graph.inputs else edge.source.port or OUT
    target_port = edge.target.port or IN
    return Arrow(edge.kind, label(edge), edge.source.owner, source_port, edge.target.owner, target_port)


def _input_box(graph: Graph, name: str) -> Box:
    given = graph.inputs[name]
    return Box(name, "input", given.type, (), (Port("", given.type, given.shape, not given.optional),))


def _node_box(graph: Graph, name: str) -> Box:
    component, ports = graph.component(name), graph.ports(name)
    shares = [edge for edge in graph.edges_to(name) if isinstance(edge, ShareEdge)]
    written = {edge.target.port or IN for edge in graph.edges_to(name)} - {edge.target.port for edge in shares}
    read = {edge.source.port or OUT for edge in graph.edges_from(name) if not isinstance(edge, ShareEdge)}
    return Box(
        name,
        component.role,
        component.name,
        tuple(port for port in ports.inputs.values() if port.name in written),
        tuple(port for port in ports.outputs.values() if port.name in read or (not read and port.name == OUT)),
        _rules(graph, name),
        tuple(f"{edge.target.port} = {_local(edge, name)}" for edge in shares),
    )


def _rules(graph: Graph, name: str) -> dict[str, Rule]:
    rules = {
        kind: rule for edge in graph.edges_to(name) if isinstance(edge, MaskEdge) for kind, rule in edge.rules.items()
    }
    kinds = graph.component(name).layer_kinds
    ordered = kinds(graph.nodes[name].config) if kinds else ()
    return {kind: rules[kind] for kind in (*ordered, *rules) if kind in rules}


def _local(edge: Edge, name: str) -> str:
    return edge.source.port or OUT if edge.source.owner == name else str(edge.source)


def _layers(graph: Graph, arrows: tuple[Arrow, ...]) -> tuple[tuple[str, ...], ...]:
    """Each box as late as its readers allow, so that arrows are short."""
    readers: dict[str, list[str]] = {name: [] for name in (*graph.inputs, *graph.nodes)}
    for arrow in arrows:
        readers[arrow.source].append(arrow.target)
    height: dict[str, int] = {}
    for name in (*reversed(graph.order()), *graph.inputs):
        height[name] = 1 + max((height[reader] for reader in readers[name]), default=-1)
    layers: list[list[str]] = [[] for _ in range(1 + max(height.values(), default=-1))]
    for name in readers:
        layers[-1 - height[name]].append(name)
    return tuple(map(tuple, layers))
