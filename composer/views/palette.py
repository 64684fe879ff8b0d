"""Colours of roles and edge kinds, the same in every picture."""

from attrs import frozen


@frozen
class RoleColor:
    """Of a box: the title bar, the border, and text on the title bar."""

    fill: str
    stroke: str
    ink: str


ROLE_COLORS = {
    "input": RoleColor("#f1f5f9", "#94a3b8", "#334155"),
    "tower": RoleColor("#e0e7ff", "#818cf8", "#3730a3"),
    "projector": RoleColor("#fef3c7", "#f59e0b", "#92400e"),
    "decoder": RoleColor("#dcfce7", "#4ade80", "#166534"),
}
FROZEN = RoleColor("#f1f5f9", "#94a3b8", "#475569")
"""In place of a node's own colour where none of its parameters trains."""
OTHER_ROLE = RoleColor("#f5f5f4", "#a8a29e", "#44403c")

EDGE_COLORS = {
    "data": "#64748b",
    "embed": "#0284c7",
    "scatter": "#ea580c",
    "inject": "#b45309",
    "mask": "#9333ea",
    "position": "#0d9488",
    "share": "#be185d",
}
OTHER_EDGE = "#64748b"
