"""What the proofs turn around: rows of features, by the edge that places them."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from composer import Graph
from composer.edges import InjectEdge, ScatterEdge
from composer.levels import injected_layers


@frozen
class Placed:
    """Rows of features that an edge places: at the decoder's start, or those of a level after one of its layers."""

    edge: ScatterEdge | InjectEdge
    level: int | None = None
    after: int = -1

    def sees(self, layer: int) -> bool:
        """Whether a layer's attention comes behind."""
        return layer > self.after

    def watching(self, order: Sequence[str]) -> list[int]:
        """Layers that attend alone in turn: the next of each kind, and before them the one that is just too early."""
        later = range(self.after + 1, len(order))
        too_early = [] if self.level is None else [self.after]
        return [
            *too_early,
            *dict.fromkeys(next(each for each in later if order[each] == order[layer]) for layer in later),
        ]


def placed_rows(graph: Graph) -> Iterator[Placed]:
    """Of every scatter edge, then of every level of every inject edge."""
    yield from (Placed(edge) for edge in graph.edges if isinstance(edge, ScatterEdge))
    for edge in graph.edges:
        if isinstance(edge, InjectEdge):
            yield from (Placed(edge, level, after) for level, after in enumerate(injected_layers(graph)))
