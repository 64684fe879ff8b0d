"""The graph as a networkx graph, for questions about paths. networkx takes long to import: ask only where one waits."""

from typing import TYPE_CHECKING

from composer.graph import Graph

if TYPE_CHECKING:
    import networkx

    Network = networkx.MultiDiGraph[str]


def network(graph: Graph) -> "Network":
    """Inputs and nodes by name, with `kind` as an attribute of each edge; edges that only share a weight are left out.

    Returns:
        A new networkx.MultiDiGraph; its nodes have `role` (`input`, or the role of the component).
    """
    import networkx

    made: Network = networkx.MultiDiGraph(name=graph.name)
    made.add_nodes_from(graph.inputs, role="input")
    for name in graph.nodes:
        made.add_node(name, role=graph.component(name).role)
    for edge in graph.edges:
        if edge.orders:
            made.add_edge(edge.source.owner, edge.target.owner, kind=edge.kind)
    return made


def upstream(graph: Graph, owner: str) -> frozenset[str]:
    """Everything, inputs included, that a node reads from, directly or through others.

    Raises:
        networkx.NetworkXError: there is no such input or node.
    """
    import networkx

    return frozenset(networkx.ancestors(network(graph), owner))
