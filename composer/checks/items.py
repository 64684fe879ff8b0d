"""Items of several inputs in one tower, and edges that place the items of one of them."""

from collections.abc import Iterator

from composer.checks.wiring import Joint, Wiring
from composer.edges import DataEdge, InjectEdge, ScatterEdge
from composer.finding import Finding
from composer.graph import IN
from composer.items import Groups, fed, item_groups
from composer.suggestion import suggestion


def item_findings(wiring: Wiring) -> Iterator[Finding]:
    """Inputs of a node that are written unequally often, and edges that do not say which items they place."""
    for node in wiring.ports:
        yield from _equally_often(wiring, node)
    for joint in wiring.joints:
        if isinstance(joint.edge, ScatterEdge | InjectEdge) and joint.edge.source.owner in wiring.graph.nodes:
            try:
                groups = item_groups(wiring.graph, joint.edge.source.owner)
            except RecursionError:  # a cycle, which has a finding of its own
                return
            yield from _placed(wiring, joint, joint.edge.of, groups)


def _equally_often(wiring: Wiring, node: str) -> Iterator[Finding]:
    """Each time one input is written, so is every other: items of a group are in all of them."""
    writers = {port: owners for port, owners in fed(wiring.graph, node).items() if port in wiring.ports[node].inputs}
    if not writers:
        return
    most = max(writers, key=lambda port: len(writers[port]))
    for port, owners in writers.items():
        if len(owners) < len(writers[most]):
            last = _joints(wiring, node, port)[-1]
            missing = _joints(wiring, node, most)[len(owners)]
            message = (
                f"{node}.{port} is written {_times(len(owners))}, {node}.{most} {_times(len(writers[most]))} "
                f"({{0}}): each is given the same items, in the same order."
            )
            yield Finding(f"{last.path}.to", message, (missing.path,))


def _joints(wiring: Wiring, node: str, port: str) -> list[Joint]:
    return [
        joint
        for joint in wiring.joints
        if isinstance(joint.edge, DataEdge)
        and joint.edge.target.owner == node
        and (joint.edge.target.port or IN) == port
        and joint.edge.source.owner in wiring.graph.inputs
    ]


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _placed(wiring: Wiring, joint: Joint, of: str | None, groups: Groups) -> Iterator[Finding]:
    source = joint.edge.source.owner
    known = [name for group in groups for name in group]
    if of is None and len(groups) > 1:
        several = "; ".join(", ".join(group) for group in groups)
        message = (
            f"{source} makes rows of several inputs ({several}): of says whose rows are placed. Add of: {groups[0][0]}."
        )
        yield Finding(joint.path, message)
    elif of is not None and of not in known:
        if of in wiring.graph.inputs:
            message = f"{source} makes no rows of {of}; it reads {', '.join(known)}."
        else:
            message = f"no input {of!r}.{suggestion(of, known)}"
        yield Finding(f"{joint.path}.of", message)
