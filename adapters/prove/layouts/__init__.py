"""The proofs of a spec under parallel layouts: the same numbers as on one rank, and the same tokens see each other."""

from adapters.prove.layouts.names import EVERY_LAYOUT, LayoutError, NamedLayout, parse_layouts

__all__ = ["EVERY_LAYOUT", "LayoutError", "NamedLayout", "parse_layouts"]
