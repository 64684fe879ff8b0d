"""The mask algebra: who may attend to whom, as data."""

from composer.masks.oracle import Layout, allowed
from composer.masks.parser import MaskSyntaxError, parse
from composer.masks.rules import (
    RULES,
    And,
    Bidirectional,
    Causal,
    Chunk,
    Not,
    Or,
    Prefix,
    Rule,
    SameDocument,
    SameRun,
    Window,
    leaves,
    tokens,
)

__all__ = [
    "RULES",
    "And",
    "Bidirectional",
    "Causal",
    "Chunk",
    "Layout",
    "MaskSyntaxError",
    "Not",
    "Or",
    "Prefix",
    "Rule",
    "SameDocument",
    "SameRun",
    "Window",
    "allowed",
    "leaves",
    "parse",
    "tokens",
]
