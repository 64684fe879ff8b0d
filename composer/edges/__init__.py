"""The kinds of edges, one file each."""

from composer.edges.data import DataEdge
from composer.edges.edge import Edge, Ref, Site
from composer.edges.embed import EmbedEdge
from composer.edges.mask import MaskEdge
from composer.edges.position import PositionEdge
from composer.edges.scatter import ScatterEdge
from composer.edges.share import ShareEdge
from composer.suggestion import suggestion

KINDS: dict[str, type[Edge]] = {
    edge.kind: edge for edge in (DataEdge, EmbedEdge, ScatterEdge, MaskEdge, PositionEdge, ShareEdge)
}


def get_edge_class(kind: str) -> type[Edge]:
    """The class of an edge kind.

    Raises:
        KeyError: unknown kind; its one argument is a sentence with the nearest known kind.
    """
    if kind not in KINDS:
        raise KeyError(f"unknown edge kind {kind!r}.{suggestion(kind, KINDS)}")
    return KINDS[kind]


__all__ = [
    "KINDS",
    "DataEdge",
    "Edge",
    "EmbedEdge",
    "MaskEdge",
    "PositionEdge",
    "Ref",
    "ScatterEdge",
    "ShareEdge",
    "Site",
    "get_edge_class",
]
