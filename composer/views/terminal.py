"""A graph for the terminal: a picture from top to bottom, and each mask rule drawn."""

from typing import TYPE_CHECKING

from attrs import frozen

from composer.graph import Graph
from composer.masks import Rule
from composer.views.mask_picture import draw_mask
from composer.views.outline import Outline
from composer.views.text_diagram import EDGE_STYLES, ROLE_STYLES, TextDiagram

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult


_MAX_BOXES = 60  # of a picture somebody looks at


def to_terminal(graph: Graph) -> "RenderableType":
    """Something for rich to print; of a large graph, or in a narrow terminal, a list of nodes and edges."""
    return _Picture(graph)


@frozen
class _Picture:
    graph: Graph

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.text import Text

        outline = Outline.of(self.graph)
        yield Text.assemble((self.graph.name, "bold"), f"  {self.graph.description}")
        yield Text()
        diagram = TextDiagram.of(outline, options.max_width) if len(outline.boxes) <= _MAX_BOXES else None
        if diagram and diagram.width <= options.max_width:
            for row in diagram.canvas.rows():
                yield Text.assemble(*row, no_wrap=True)
        else:
            yield from _listing(outline)
        rules = [(kind, rule) for box in outline.boxes.values() for kind, rule in box.rules.items()]
        if rules:
            yield Text()
            yield Text.assemble(("Who sees whom", "bold"), " by layer kind: query down, key across")
            yield Text.assemble(_token(True), "placeholder   ", _token(False), "text   ", *_LEGEND)
            yield Text()
            yield _masks(rules)
        if self.graph.tokens:
            yield Text()
            yield Text(
                "tokens  " + "   ".join(f"{name} {token}" for name, token in self.graph.tokens.items()), "bright_black"
            )


def _listing(outline: Outline) -> "RenderResult":
    from rich.text import Text

    for names in outline.layers:
        for name in names:
            box = outline.boxes[name]
            yield Text.assemble((name, f"bold {ROLE_STYLES.get(box.role, '')}"), f"  {box.kind}")
            for arrow in outline.arrows:
                if arrow.source == name:
                    end = f"{arrow.target}.{arrow.target_port}"
                    yield Text.assemble("  ", (arrow.label, EDGE_STYLES.get(arrow.kind, "")), f" → {end}")


def _masks(rules: list[tuple[str, Rule]]) -> "RenderableType":
    from rich.columns import Columns
    from rich.text import Text

    def panel(kind: str, rule: Rule) -> Text:
        picture = draw_mask(rule)
        lines = [Text(kind, "bold"), Text(str(rule), EDGE_STYLES["mask"]), Text(picture.note, "bright_black")]
        lines.append(Text.assemble("  ", *(_token(placeholder) for placeholder in picture.placeholders)))
        for query, row in enumerate(picture.rows):
            cells = [_cell(seen, key > query) for key, seen in enumerate(row)]
            lines.append(Text.assemble(_token(picture.placeholders[query]), *cells))
        return Text("\n").join(lines)

    return Columns([panel(kind, rule) for kind, rule in rules], padding=(1, 4))


_SEEN = ("■ ", EDGE_STYLES["mask"])
_SEEN_LATER = ("◆ ", EDGE_STYLES["scatter"])
_LEGEND = (_SEEN, "sees itself or an earlier key   ", _SEEN_LATER, "sees a later key")


def _token(placeholder: bool) -> tuple[str, str]:
    return ("▣ ", EDGE_STYLES["scatter"]) if placeholder else ("t ", "bright_black")


def _cell(seen: bool, later: bool) -> tuple[str, str]:
    if not seen:
        return ("· ", "bright_black")
    return _SEEN_LATER if later else _SEEN
