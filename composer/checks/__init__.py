"""Everything that can be known to be wrong with a graph without building it."""

from collections.abc import Iterator

from composer.checks.cycles import cycles
from composer.checks.hf import hf_findings
from composer.checks.items import item_findings
from composer.checks.names import name_findings
from composer.checks.nodes import node_findings
from composer.checks.shapes import shape_findings
from composer.checks.sources import source_findings
from composer.checks.stages import stage_findings
from composer.checks.types import type_findings
from composer.checks.use import use_findings
from composer.checks.wiring import Wiring
from composer.errors import Problem
from composer.finding import Finding
from composer.graph import Graph
from composer.registry import components

__all__ = ["Finding", "findings", "problems"]


def findings(graph: Graph) -> list[Finding]:
    """Check nodes, edges and how they fit; locations are the reader's business, see `Finding`.

    A node whose component is unknown, or whose configuration is None because it could not be read, is left out of
    every check that needs its ports.
    """
    wiring = Wiring.of(graph, components())
    return [
        *name_findings(wiring),
        *node_findings(graph, wiring.components),
        *wiring.unresolved,
        *_edge_findings(wiring),
        *type_findings(wiring),
        *source_findings(wiring),
        *use_findings(wiring),
        *item_findings(wiring),
        *shape_findings(wiring),
        *cycles(graph),
        *hf_findings(graph),
        *stage_findings(graph, wiring.components),
    ]


def problems(graph: Graph) -> tuple[Problem, ...]:
    """The findings as problems that name paths instead of places in a file."""
    return tuple(Problem(None, finding.path, finding.text()) for finding in findings(graph))


def _edge_findings(wiring: Wiring) -> Iterator[Finding]:
    for joint in wiring.joints:
        yield from joint.edge.check(wiring.site(joint))
