"""Parity with transformers: tiny models of a spec, compared value by value and gradient by gradient."""

from adapters.parity.card import write_card
from adapters.parity.comparison import measure_graph, run
from adapters.parity.report import ParityReport, VariantReport

__all__ = ["ParityReport", "VariantReport", "measure_graph", "run", "write_card"]
