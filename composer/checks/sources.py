"""Edges start where the model reads: at `input_ids`, and at the output `out` of nodes."""

from collections.abc import Iterator

from composer.checks.types import joins
from composer.checks.wiring import IDS, Wiring
from composer.edges import DataEdge, Ref, ScatterEdge
from composer.finding import Finding
from composer.graph import OUT
from composer.registry import TOKENS


def source_findings(wiring: Wiring) -> Iterator[Finding]:
    """Token ids from another input, features from another output; ends of a wrong type are found elsewhere."""
    misnamed: dict[str, None] = {}
    for joint in wiring.joints:
        edge, path = joint.edge, f"{joint.path}.from"
        if not (joint.source and joint.target and joins(type(edge), joint.source.type, joint.target.type)):
            continue
        if edge.reads == (TOKENS,) and edge.source != Ref(IDS):
            if IDS in wiring.graph.inputs or edge.source.owner not in wiring.graph.inputs:
                message = f"the model reads token ids from {IDS} alone, not from {edge.source}. Write from: {IDS}."
                yield Finding(path, message)
            else:
                misnamed[edge.source.owner] = None
        elif isinstance(edge, DataEdge | ScatterEdge) and edge.source.port not in (None, OUT):
            owner = edge.source.owner
            hint = f" Write from: {owner}." if OUT in wiring.ports[owner].outputs else ""
            message = f"a {edge.kind} edge starts at a node's output {OUT}, not at {edge.source.port}.{hint}"
            yield Finding(path, message)
    for name in misnamed:
        yield Finding(f"inputs.{name}", f"the model reads token ids from an input called {IDS}. Rename this one.")
