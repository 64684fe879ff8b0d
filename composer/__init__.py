"""The language: specs, graphs, and what can be known about them without torch."""

from composer.builder import Builder
from composer.dump import dump
from composer.errors import SpecError
from composer.graph import Graph
from composer.load import load, loads

__all__ = ["Builder", "Graph", "SpecError", "dump", "load", "loads"]
