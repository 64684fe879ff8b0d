"""Whether a rank's towers and projectors may have nothing to do in a step."""

from composer.graph import Graph
from composer.plans.layout import Layout


def may_be_idle(graph: Graph, layout: Layout) -> tuple[str, ...]:
    """Why towers or projectors of a rank may not run in a step, in words; empty: they always run."""
    decoder = graph.decoder().name
    to_encoders = [
        name for name in graph.inputs if any(edge.target.owner != decoder for edge in graph.edges_from(name))
    ]
    reasons = []
    if optional := [name for name in to_encoders if graph.inputs[name].optional]:
        reasons.append(f"a batch without {', '.join(optional)}")
    sharing = layout.tp * layout.cp
    if sharing > 1 and len(graph.nodes) > 1:
        reasons.append(f"{sharing} ranks that share a batch's items, of which there may be fewer")
    return tuple(reasons)
