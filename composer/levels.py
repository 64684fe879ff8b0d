"""Which decoder layers levels of features are added after."""

from composer.edges import InjectEdge
from composer.graph import OUT, Graph


def injected_layers(graph: Graph) -> tuple[int, ...]:
    """The decoder layers after which a level is added, ascending, the same for all inject edges; empty: none is."""
    for edge in graph.edges:
        if isinstance(edge, InjectEdge):
            levels = graph.ports(edge.source.owner).outputs[edge.source.port or OUT].shape[0]
            return edge.layers(int(levels))
    return ()
