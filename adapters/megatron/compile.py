"""Graph to steps: who reads whom is settled here, once, and never again while the model runs."""

from typing import Any

import torch
from attrs import frozen

from adapters.megatron.call import Step, output_key
from adapters.megatron.implementation import implementation
from adapters.megatron.inject_step import Injected, InjectStep
from adapters.megatron.node_step import Beside, NodeStep
from adapters.megatron.steps import EmbedStep, MaskStep, PositionStep, ScatterStep, UnfilledStep
from components.fusion.mask_metadata import MetadataLayout
from composer import Graph
from composer.edges import DataEdge, Edge, EmbedEdge, InjectEdge, MaskEdge, PositionEdge, ScatterEdge, ShareEdge
from composer.graph import IN, OUT
from composer.items import item_groups
from composer.levels import injected_layers
from composer.masks import Rule
from composer.network import upstream


@frozen(eq=False)
class Program:
    """What one pipeline stage runs before its decoder layers."""

    decoder: str
    encoders: tuple[str, ...]
    """Towers and projectors, each after what it reads; on the first stage only."""
    steps: tuple[Step, ...]
    rules: dict[str, Rule]
    layout: MetadataLayout
    injected: tuple[int, ...]
    """The decoder layers after which a level of features is added, ascending."""
    tied: bool
    modalities: dict[str, tuple[str, tuple[str, ...]]]
    """Placeholder token: the node whose features fill it, and the spec inputs that node needs."""
    counted: tuple[str, ...]
    """First placeholder token of each scatter edge: items may be counted per sample under its name."""


def compile_graph(graph: Graph, *, pre_process: bool, dtype: torch.dtype) -> Program:
    """The steps of one stage, in order.

    Args:
        graph: a checked graph.
        pre_process: whether this is the first stage: only it embeds, encodes and scatters.
        dtype: of the rotation.
    """
    decoder = graph.decoder().name
    mask = _only(graph, decoder, MaskEdge)
    injects = [edge for edge in graph.edges_to(decoder) if isinstance(edge, InjectEdge)]
    groups = graph.component(decoder).token_groups
    sets = () if groups is None else groups(graph.decoder().config).values()
    layout = MetadataLayout.for_rules(mask.rules.values(), graph.tokens, [edge.at for edge in injects], sets)
    encoders = tuple(name for name in graph.order() if name != decoder)
    steps: list[Step] = []
    if pre_process:
        steps += _first_stage(graph, decoder, encoders)
    position = _only(graph, decoder, PositionEdge)
    steps.append(MaskStep(layout, "; ".join(f"{kind}: {rule}" for kind, rule in mask.rules.items())))
    grids = tuple((name, graph.tokens[name], rule) for name, rule in position.grids.items())
    steps.append(PositionStep(decoder, position.offset, dtype, grids))
    return Program(
        decoder=decoder,
        encoders=encoders,
        steps=tuple(steps),
        rules=dict(mask.rules),
        layout=layout,
        injected=injected_layers(graph),
        tied=any(isinstance(edge, ShareEdge) for edge in graph.edges),
        modalities=_modalities(graph, decoder),
        counted=tuple(edge.at[0] for edge in graph.edges_to(decoder) if isinstance(edge, ScatterEdge)),
    )


def _only[E: Edge](graph: Graph, decoder: str, kind: type[E]) -> E:
    return next(edge for edge in graph.edges_to(decoder) if isinstance(edge, kind))


def _first_stage(graph: Graph, decoder: str, encoders: tuple[str, ...]) -> list[Step]:
    embed = _only(graph, decoder, EmbedEdge)
    hidden = graph.nodes[decoder].config.config.hidden_size
    scale = hidden**0.5 if embed.scale == "sqrt_hidden_size" else float(embed.scale)
    steps: list[Step] = [EmbedStep(decoder, tuple(graph.tokens[name] for name in embed.replace), embed.row, scale)]
    steps += [_node_step(graph, name) for name in encoders]
    scatters = [edge for edge in graph.edges_to(decoder) if isinstance(edge, ScatterEdge)]
    sources: dict[str, tuple[str | None, str | None, int]] = {
        name: (None, None, graph.tokens[name]) for name in embed.replace
    }
    for edge in scatters:
        tokens = tuple(graph.tokens[name] for name in edge.at)
        steps.append(ScatterStep(edge.source.owner, tokens, edge.at, edge.mode, edge.interrupted, edge.of))
        sources |= {name: (edge.source.owner, edge.of, graph.tokens[name]) for name in edge.at}
    steps.append(UnfilledStep(sources))
    injects = [edge for edge in graph.edges_to(decoder) if isinstance(edge, InjectEdge)]
    if injects:
        steps.append(InjectStep(tuple(_injected(graph, edge, scatters) for edge in injects)))
    return steps


def _injected(graph: Graph, edge: InjectEdge, scatters: list[ScatterEdge]) -> Injected:
    twin = next(scatter for scatter in scatters if set(scatter.at) == set(edge.at))
    source = output_key(edge.source.owner, edge.source.port or OUT)
    tokens = tuple(graph.tokens[name] for name in edge.at)
    return Injected(source, twin.source.owner, tokens, edge.at, edge.source.owner, edge.of, twin.of)


def _node_step(graph: Graph, name: str) -> NodeStep:
    node = graph.nodes[name]
    edges = [edge for edge in graph.edges_to(name) if isinstance(edge, DataEdge)]
    sources: dict[str, tuple[str, ...]] = {}
    for edge in (edge for edge in edges if not edge.beside):
        port = edge.target.port or IN
        sources[port] = (*sources.get(port, ()), edge.source.owner)
    upstream = [owner for owners in sources.values() for owner in owners if owner in graph.nodes]
    component = graph.component(name)
    outputs = graph.ports(name).outputs
    implemented = implementation(component)
    return NodeStep(
        name,
        node.config,
        implemented,
        sources,
        item_groups(graph, name),
        rows_from=upstream[0] if upstream else None,
        shared=not upstream and _shares_items(graph, name, implemented),
        width=int(outputs[OUT].shape[-1]),
        packs={edge.target.port or IN: edge.pack for edge in edges if edge.pack and not edge.beside},
        beside=tuple(Beside(edge.target.port or IN, edge.source.owner, edge.pack) for edge in edges if edge.beside),
        levels={
            port: (int(each.shape[0]), int(each.shape[-1])) for port, each in outputs.items() if each.type == "levels"
        },
    )


def _shares_items(graph: Graph, name: str, implemented: Any) -> bool:
    """Whether ranks can encode some items each: all inputs have them first, or the component knows how to cut them."""
    known = getattr(implemented, "shares_items", None)
    if known is not None:
        return bool(known(graph.nodes[name].config))
    return len({str(port.shape[0]) for port in graph.ports(name).inputs.values()}) == 1


def _modalities(graph: Graph, decoder: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for edge in graph.edges_to(decoder):
        if isinstance(edge, ScatterEdge):
            before = upstream(graph, edge.source.owner)
            groups = item_groups(graph, edge.source.owner)
            others = {name for group in groups if edge.of is not None and edge.of not in group for name in group}
            needs = tuple(name for name in graph.inputs if name in before and name not in others)
            found |= dict.fromkeys(edge.at, (edge.source.owner, needs))
    return found
