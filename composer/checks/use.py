"""Every input is written once, and everything that is made is read."""

from collections import defaultdict
from collections.abc import Iterator

from composer.checks.wiring import Joint, Wiring
from composer.edges import KINDS, ScatterEdge
from composer.finding import Finding
from composer.registry import Port


def use_findings(wiring: Wiring) -> Iterator[Finding]:
    """Inputs without a writer or with two, scatter edges that overlap, inputs and outputs nobody reads."""
    writers: dict[tuple[str, str | None], list[Joint]] = defaultdict(list)
    for joint in wiring.joints:
        writers[joint.edge.target.owner, joint.edge.target.port].append(joint)
    for node, ports in wiring.ports.items():
        for name, port in ports.inputs.items():
            yield from _written(node, port, writers[node, name])
    for joints in writers.values():
        yield from _overlaps(wiring, [joint for joint in joints if isinstance(joint.edge, ScatterEdge)])
    yield from _unread(wiring)


def _written(node: str, port: Port, joints: list[Joint]) -> Iterator[Finding]:
    writers = [joint for joint in joints if not joint.edge.overlays]
    for joint in writers[1:]:
        message = f"{node}.{port.name} has two writers: {{0}} writes it too."
        yield Finding(f"{joint.path}.to", message, (writers[0].path,))
    if writers or not (port.required or joints):
        return
    advice = f"Add an edge {{kind: {_kind_for(port)}, to: {node}.{port.name}}}."
    if joints:
        yield Finding(f"{joints[0].path}.to", f"nothing writes {node}.{port.name} before this edge. {advice}")
    else:
        yield Finding(f"nodes.{node}", f"nothing writes its input {port.name}. {advice}")


def _kind_for(port: Port) -> str:
    return next((kind for kind, edge in KINDS.items() if port.type in edge.writes and not edge.overlays), "data")


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
                yield Finding(path, f"{name}{same} is filled by another scatter edge already ({{0}}).", (place,))
            mine.setdefault(token, (path, name))
        taken = mine | taken


def _unread(wiring: Wiring) -> Iterator[Finding]:
    read = {joint.edge.source.owner for joint in wiring.joints if joint.edge.source.owner != joint.edge.target.owner}
    for name in wiring.graph.inputs:
        if name not in read:
            yield Finding(f"inputs.{name}", "no edge reads this input.")
    for name, node in wiring.graph.nodes.items():
        component = wiring.components.get(node.component)
        if name not in read and not (component and component.role == "decoder"):
            yield Finding(f"nodes.{name}", "no edge reads its output.")
