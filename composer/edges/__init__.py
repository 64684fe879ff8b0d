"""The kinds of edges, one file each."""

from composer.edges.data import DataEdge
from composer.edges.edge import Edge, Ref, Site
from composer.edges.embed import EmbedEdge
from composer.edges.inject import InjectEdge
from composer.edges.mask import MaskEdge
from composer.edges.position import PositionEdge
from composer.edges.scatter import ScatterEdge
from composer.edges.share import ShareEdge

KINDS: dict[str, type[Edge]] = {
    edge.kind: edge for edge in (DataEdge, EmbedEdge, ScatterEdge, InjectEdge, MaskEdge, PositionEdge, ShareEdge)
}


__all__ = [
    "KINDS",
    "DataEdge",
    "Edge",
    "EmbedEdge",
    "InjectEdge",
    "MaskEdge",
    "PositionEdge",
    "Ref",
    "ScatterEdge",
    "ShareEdge",
    "Site",
]
