"""The language: specs, graphs, and what can be known about them without torch."""

from composer.errors import SpecError
from composer.graph import Graph
from composer.load import load

__all__ = ["Graph", "SpecError", "load"]
