"""A graph as Mermaid text, which GitHub and many editors draw."""

from composer.graph import Graph
from composer.views.outline import Box, Outline, shape_text
from composer.views.palette import EDGE_COLORS, ROLE_COLORS

_LINES = {"mask": "-.->", "position": "-.->", "scatter": "==>", "inject": "==>", "embed": "==>"}


def to_mermaid(graph: Graph) -> str:
    """A flowchart from left to right: inputs round, nodes by role, edges labelled by kind."""
    outline = Outline.of(graph)
    ids = {name: f"n{number}" for number, name in enumerate(outline.boxes)}
    lines = ["flowchart LR"]
    lines += [f"    {ids[name]}{_shape(box)}:::{box.role}" for name, box in outline.boxes.items()]
    for arrow in outline.arrows:
        words = arrow.label + (f" → {arrow.target_port}" if arrow.target_port != "in" else "")
        lines.append(f'    {ids[arrow.source]} {_LINES.get(arrow.kind, "-->")}|"{_quote(words)}"| {ids[arrow.target]}')
    used = {box.role for box in outline.boxes.values()}
    for role, color in ROLE_COLORS.items():
        if role in used:
            lines.append(f"    classDef {role} fill:{color.fill},stroke:{color.stroke},color:#0f172a;")
    for number, arrow in enumerate(outline.arrows):
        lines.append(f"    linkStyle {number} stroke:{EDGE_COLORS.get(arrow.kind, '#64748b')};")
    return "\n".join(lines) + "\n"


def _shape(box: Box) -> str:
    if box.role == "input":
        return f'(["{_quote(box.name)}<br/>{_quote(shape_text(box.outputs[0].shape))}"])'
    kinds = [f"{kind}: {rule}" for kind, rule in box.rules.items()]
    text = "<br/>".join(map(_quote, [box.name, box.kind, *kinds, *box.shared]))
    return f'["{text}"]'


def _quote(text: str) -> str:
    for sign, code in (("&", "#38;"), ('"', "#34;"), ("<", "#60;"), (">", "#62;"), ("|", "#124;")):
        text = text.replace(sign, code)
    return text
