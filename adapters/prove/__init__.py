"""Proofs: perturb one feature row where it enters the text, and check exactly who changed; and where gradient goes."""

from adapters.prove.proof import prove_graph, run
from adapters.prove.report import ProveReport

__all__ = ["ProveReport", "prove_graph", "run"]
