"""Edges join ports of the types their kind is for."""

from collections.abc import Iterator

from composer.checks.wiring import IDS, Joint, Wiring
from composer.edges import KINDS, DataEdge, Edge, Ref
from composer.edges.edge import ANY
from composer.finding import Finding
from composer.registry import Port

FEATURES = "features"
_MADE = frozenset(word for kind in KINDS.values() for word in kind.writes if word != ANY)
"""Port types that edges of their own kind write: no tensor is handed to them."""


def type_findings(wiring: Wiring) -> Iterator[Finding]:
    """An end that is not of the edge kind's type, or a tensor handed to an input of another type.

    Inputs whose type is wrong by itself are left out.
    """
    for joint in wiring.joints:
        if joint.source and joint.target and joint.source.type in wiring.types:
            yield from _joint(joint, joint.source, joint.target)
            if isinstance(joint.edge, DataEdge) and joint.edge.pack and joint.source.type != FEATURES:
                message = f"only features are packed, but {joint.edge.source} is {joint.source.type}."
                yield Finding(f"{joint.path}.pack", message)


def _joint(joint: Joint, source: Port, target: Port) -> Iterator[Finding]:
    edge = joint.edge
    if joins(type(edge), source.type, target.type):
        return
    others = [kind for kind, other in KINDS.items() if joins(other, source.type, target.type)]
    hint = f" Use kind: {' or '.join(others)}." if others else ""
    if isinstance(edge, DataEdge):
        clash = f"{edge.target} takes {target.type}, but {edge.source} is {source.type}."
        message = f"a data edge carries no {target.type}." if source.type in (target.type, ANY) else clash
        if not others and target.type in _MADE and source.type in (target.type, ANY):
            others = [kind for kind, other in KINDS.items() if target.type in other.writes and not other.overlays]
            hint = f" Use kind: {' or '.join(others)}."
        yield Finding(f"{joint.path}.to", message + hint)
        return
    if source.type not in (*edge.reads, ANY) and edge.source != Ref(IDS):
        message = f"{_named(edge)} starts at {' or '.join(edge.reads)}, but {edge.source} is {source.type}."
        yield Finding(f"{joint.path}.from", message + hint)
    if target.type not in edge.writes:
        message = f"{_named(edge)} ends at {' or '.join(edge.writes)}, but {edge.target} takes {target.type}."
        yield Finding(f"{joint.path}.to", message + hint)


def joins(kind: type[Edge], source: str, target: str) -> bool:
    """Whether edges of a kind may go from one port type to another."""
    if kind is DataEdge:
        return target not in _MADE and source != "weight" and (source == target or ANY in {source, target})
    return source in (*kind.reads, ANY) and target in kind.writes


def _named(edge: Edge) -> str:
    return f"{'an' if edge.kind[0] in 'aeiou' else 'a'} {edge.kind} edge"
