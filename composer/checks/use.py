"""Every input is written once, and everything that is made is read."""

from collections import defaultdict
from collections.abc import Iterator

from composer.checks.wiring import Joint, Wiring
from composer.edges import KINDS, DataEdge, InjectEdge, PositionEdge, ScatterEdge
from composer.edges.edge import ANY
from composer.finding import Finding
from composer.registry import Port

LEVELS = "levels"


def use_findings(wiring: Wiring) -> Iterator[Finding]:
    """Inputs without a writer or with two, edges that overlap, inputs and outputs nobody reads."""
    writers: dict[tuple[str, str | None], list[Joint]] = defaultdict(list)
    for joint in wiring.joints:
        writers[joint.edge.target.owner, joint.edge.target.port].append(joint)
    for node, ports in wiring.ports.items():
        for name, port in ports.inputs.items():
            yield from _written(wiring, node, port, writers[node, name])
    for joints in writers.values():
        for kind in (ScatterEdge, InjectEdge):
            yield from _overlaps(wiring, [joint for joint in joints if isinstance(joint.edge, kind)])
    yield from _injected(wiring)
    yield from _unread(wiring)


def _written(wiring: Wiring, node: str, port: Port, joints: list[Joint]) -> Iterator[Finding]:
    # Rows beside others change what another edge wrote, as overlays do.
    writers = [joint for joint in joints if not (joint.edge.overlays or getattr(joint.edge, "beside", False))]
    items = _items_of_several(wiring, port, writers)
    for joint in writers[1:] if not items else ():
        message = f"{node}.{port.name} has two writers: {{0}} writes it too."
        if port.type == "features":
            message += " If its rows are to stand beside those, say beside: true."
        yield Finding(f"{joint.path}.to", message, (writers[0].path,))
    if writers or not (port.required or (joints and _kind_for(port))):  # hidden states are there anyway
        return
    advice = f"Add an edge {{kind: {_kind_for(port) or 'data'}, to: {node}.{port.name}}}."
    if joints:
        yield Finding(f"{joints[0].path}.to", f"nothing writes {node}.{port.name} before this edge. {advice}")
    else:
        yield Finding(f"nodes.{node}", f"nothing writes its input {port.name}. {advice}")


def _items_of_several(wiring: Wiring, port: Port, writers: list[Joint]) -> bool:
    """Whether all writers hand over different inputs of the spec: then the node is given all their items."""
    owners = {joint.edge.source.owner for joint in writers if isinstance(joint.edge, DataEdge)}
    return port.type == ANY and len(owners) == len(writers) and owners <= wiring.graph.inputs.keys()


def _kind_for(port: Port) -> str | None:
    writers = {kind: edge for kind, edge in KINDS.items() if not edge.overlays}
    return next((kind for kind, edge in writers.items() if port.type in edge.writes), None)


def _overlaps(wiring: Wiring, joints: list[Joint]) -> Iterator[Finding]:
    taken: dict[object, tuple[str, str]] = {}
    for joint in joints:
        mine: dict[object, tuple[str, str]] = {}
        for position, name in enumerate(getattr(joint.edge, "at", ())):
            path = f"{joint.path}.at[{position}]"
            token = wiring.graph.tokens.get(name, name)
            if token in taken:
                place, other = taken[token]
                same = "" if other == name else f" (same token id as {other})"
                another = f"another {joint.edge.kind} edge"
                yield Finding(path, f"{name}{same} is filled by {another} already ({{0}}).", (place,))
            mine.setdefault(token, (path, name))
        taken = mine | taken


def _injected(wiring: Wiring) -> Iterator[Finding]:
    """Levels are added where a scatter edge has put features, all after the same layers."""
    placed = {frozenset(joint.edge.at) for joint in wiring.joints if isinstance(joint.edge, ScatterEdge)}
    first: Joint | None = None
    for joint in wiring.joints:
        if not isinstance(edge := joint.edge, InjectEdge) or joint.source is None:
            continue
        known = edge.at and all(name in wiring.graph.tokens for name in edge.at)
        if known and frozenset(edge.at) not in placed:
            message = "no scatter edge has these tokens, and levels are added where features stand. Write the same at."
            yield Finding(f"{joint.path}.at", message)
        first = first or joint
        assert isinstance(first.edge, InjectEdge)
        assert first.source is not None
        mine, others = (_layers(each, port) for each, port in ((edge, joint.source), (first.edge, first.source)))
        if mine != others:
            message = f"adds after layers {_shown(mine)}, another inject edge after {_shown(others)} ({{0}})."
            yield Finding(joint.path, message, (first.path,))


def _layers(edge: InjectEdge, source: Port) -> tuple[int, ...]:
    levels = source.shape[0] if source.shape else 0
    return edge.layers(levels if isinstance(levels, int) else 0)


def _shown(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers))


def _unread(wiring: Wiring) -> Iterator[Finding]:
    read = {joint.edge.source.owner for joint in wiring.joints if joint.edge.source.owner != joint.edge.target.owner}
    read |= {name for joint in wiring.joints if isinstance(joint.edge, PositionEdge) for name in joint.edge.inputs}
    for name in wiring.graph.inputs:
        if name not in read:
            yield Finding(f"inputs.{name}", "no edge reads this input.")
    for name, node in wiring.graph.nodes.items():
        component = wiring.components.get(node.component)
        if name not in read and not (component and component.role == "decoder"):
            yield Finding(f"nodes.{name}", "no edge reads its output.")
    ends = {(joint.edge.source.owner, joint.edge.source.port) for joint in wiring.joints}
    for name, ports in wiring.ports.items():
        for port in ports.outputs.values():
            if port.type == LEVELS and (name, port.name) not in ends:
                message = f"no edge reads {name}.{port.name}. Add an edge {{kind: inject, from: {name}.{port.name}}}."
                yield Finding(f"nodes.{name}.{port.origin[0]}", message)
