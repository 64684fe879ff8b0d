"""Which inputs of a spec hold the items that a node encodes: images and videos may go through one tower."""

from composer.edges import DataEdge
from composer.graph import IN, Graph

type Groups = tuple[tuple[str, ...], ...]


def item_groups(graph: Graph, node: str) -> Groups:
    """The spec's inputs that a node's rows come from, one group for each time its inputs are written.

    A node whose inputs are written several times is given the items of all writers, one group after the other. A node
    that reads another has that one's groups, together with its own inputs.

    Raises:
        RecursionError: nodes wait for each other, which the check of a spec finds.
    """
    groups: list[dict[str, None]] = []
    for owners in fed(graph, node).values():
        for number, owner in enumerate(owners):
            _add(groups, number, (owner,))
    for edge in graph.edges_to(node):
        if isinstance(edge, DataEdge) and edge.source.owner in graph.nodes:
            for number, owners in enumerate(item_groups(graph, edge.source.owner)):
                _add(groups, number, owners)
    return tuple(map(tuple, groups))


def fed(graph: Graph, node: str) -> dict[str, tuple[str, ...]]:
    """Inputs of the spec that are handed to each input of a node, in the order of the edges."""
    found: dict[str, tuple[str, ...]] = {}
    for edge in graph.edges_to(node):
        if isinstance(edge, DataEdge) and edge.source.owner in graph.inputs:
            port = edge.target.port or IN
            found[port] = tuple(dict.fromkeys((*found.get(port, ()), edge.source.owner)))
    return found


def _add(groups: list[dict[str, None]], number: int, owners: tuple[str, ...]) -> None:
    while len(groups) <= number:
        groups.append({})
    groups[number] |= dict.fromkeys(owners)
