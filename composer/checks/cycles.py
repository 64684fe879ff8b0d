"""Nodes that wait for each other."""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from composer.finding import Finding
from composer.graph import Graph

_MAX_CYCLES = 20


def cycles(graph: Graph) -> Iterator[Finding]:
    """Name each cycle once, at the edge that closes it."""
    edges = {
        (edge.source.owner, edge.target.owner): number
        for number, edge in enumerate(graph.edges)
        if edge.orders and edge.source.owner in graph.nodes and edge.target.owner in graph.nodes
    }
    for _ in range(_MAX_CYCLES):
        cycle = _maybe_cycle(list(edges))
        if cycle is None:
            return
        numbers = [edges[step] for step in pairwise(cycle)]
        closing = max(numbers)
        turn = numbers.index(closing) + 1
        names = [*cycle[turn:], *cycle[1 : turn + 1]]
        others = tuple(f"edges[{number}]" for number in sorted(numbers) if number != closing)
        places = ", ".join(f"{{{i}}}" for i in range(len(others)))
        message = f"a cycle: {' -> '.join(names)}{f' (with {places})' if places else ''}."
        yield Finding(f"edges[{closing}]", message, others)
        edges = {step: number for step, number in edges.items() if number != closing}


def _maybe_cycle(steps: list[tuple[str, str]]) -> list[str] | None:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for start, end in steps:
        sorter.add(end, start)
    try:
        sorter.prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None
