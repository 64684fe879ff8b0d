"""A graph as a self-contained SVG picture, from left to right."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from attrs import define, field, frozen

from composer.graph import Graph
from composer.views.layered import Link, Slot, arrange
from composer.views.outline import Arrow, Outline
from composer.views.palette import EDGE_COLORS, OTHER_EDGE
from composer.views.svg_cards import Card
from composer.views.svg_marks import GREY, INK, PALE, SANS, mark, rect, text, text_width, wrap
from composer.views.svg_masks import MaskPanel

_MARGIN = 32.0
_BETWEEN = 30.0  # boxes of a column
_LANE = 20.0  # height of an arrow that passes a column
_MIN_WIDTH = 720.0
_DASHED = {"mask": "6 4", "position": "2 3"}


def to_svg(graph: Graph, states: Mapping[str, str] | None = None) -> str:
    """Inputs, nodes with their ports, edges by kind, and a picture of each mask rule, as SVG text.

    Args:
        graph: a checked graph.
        states: of nodes, by name: `trained`, `partly` or `frozen`; each is written on its node.
    """
    outline = Outline.of(graph)
    diagram = _Diagram.of(outline, states or {})
    panels = [MaskPanel(kind, rule) for box in outline.boxes.values() for kind, rule in box.rules.items()]
    width = max(_MIN_WIDTH, diagram.width, max((panel.width for panel in panels), default=0)) + 2 * _MARGIN
    marks = [text(_MARGIN, _MARGIN + 16, graph.name, 20, font_weight=700)]
    top = _MARGIN + 26
    for line in wrap(graph.description, width - 2 * _MARGIN, 13):
        top += 16
        marks.append(text(_MARGIN, top, line, 13, fill=GREY))
    top += 30
    marks += diagram.draw((width - diagram.width) / 2, top)
    top += diagram.height + 24
    drawn, top = _mask_panels(panels, width, top)
    marks += drawn
    return _page(marks, width, top + _MARGIN, graph.name)


@frozen
class _Route:
    """An arrow, its label, and the slots it goes through, box to box."""

    arrow: Arrow
    links: list[Link]


@define
class _Diagram:
    cards: dict[str, Card]
    slots: dict[str, Slot]
    columns: list[tuple[str, ...]]
    column: dict[str, int]  # of each box
    routes: list[_Route]
    left: list[float] = field(factory=list)  # of each column
    widths: list[float] = field(factory=list)

    @classmethod
    def of(cls, outline: Outline, states: Mapping[str, str]) -> "_Diagram":
        leaving = Counter(arrow.source for arrow in outline.arrows)
        cards = {name: Card(box, leaving[name], states.get(name)) for name, box in outline.boxes.items()}
        slots = {name: Slot(card.height) for name, card in cards.items()}
        column = {name: number for number, names in enumerate(outline.layers) for name in names}
        layers = [[slots[name] for name in names] for names in outline.layers]
        routes = []
        left_already: Counter[str] = Counter()
        for arrow in _from_top(outline, cards):
            start = cards[arrow.source].exit(arrow.source_port, left_already[arrow.source])
            left_already[arrow.source] += 1
            routes.append(_Route(arrow, _pieces(arrow, start, cards, slots, column, layers)))
        arrange(layers, [link for route in routes for link in route.links], _BETWEEN)
        diagram = cls(cards, slots, list(outline.layers), column, routes)
        diagram._untangle()
        diagram._set_columns()
        return diagram

    def _untangle(self) -> None:
        """Let the arrows of an input leave it in the order of where they go."""
        leaving: dict[str, list[Link]] = defaultdict(list)
        for route in self.routes:
            leaving[route.arrow.source].append(route.links[0])
        for links in leaving.values():
            offsets = sorted(link.start_offset for link in links)
            links.sort(key=lambda link: link.end.position + link.end_offset)
            for link, offset in zip(links, offsets, strict=True):
                link.start_offset = offset

    def _set_columns(self) -> None:
        labels: dict[int, float] = defaultdict(float)
        for route in self.routes:
            gap = self.column[route.arrow.target] - 1
            labels[gap] = max(labels[gap], text_width(route.arrow.label, 11, bold=True) + 14)
        position = 0.0
        for number, names in enumerate(self.columns):
            self.left.append(position)
            self.widths.append(max((self.cards[name].width for name in names), default=0.0))
            position += self.widths[-1] + labels[number] + 64

    @property
    def width(self) -> float:
        return self.left[-1] + self.widths[-1] if self.left else 0.0

    @property
    def height(self) -> float:
        passing = [link.end for route in self.routes for link in route.links]
        return max((slot.position + slot.size for slot in (*self.slots.values(), *passing)), default=0.0)

    def draw(self, x: float, y: float) -> Iterator[str]:
        labels: list[tuple[float, float, Arrow]] = []
        for route in self.routes:
            yield self._curve(route, x, y)
            labels.append(self._label_place(route, x, y))
        for number, names in enumerate(self.columns):
            for name in names:
                yield from self.cards[name].draw(self._box_left(name, number) + x, self.slots[name].position + y)
        for place_x, place_y, arrow in _apart(labels):
            yield from _label(place_x, place_y, arrow)

    def _box_left(self, name: str, column: int) -> float:
        """Inputs stand at the right of their column, near what reads them; nodes at the left."""
        spare = self.widths[column] - self.cards[name].width
        return self.left[column] + (spare if self.cards[name].box.role == "input" else 0)

    def _ends(self, route: _Route) -> tuple[float, float]:
        source, target = self.column[route.arrow.source], self.column[route.arrow.target]
        start = self._box_left(route.arrow.source, source) + self.cards[route.arrow.source].width
        return start, self.left[target]

    def _curve(self, route: _Route, x: float, y: float) -> str:
        start, end = self._ends(route)
        first = self.column[route.arrow.source]
        here, height = start + x, route.links[0].start.position + route.links[0].start_offset + y
        path = f"M{here:.1f} {height:.1f}"
        for number, link in enumerate(route.links):
            last = number == len(route.links) - 1
            there = (end - 11 if last else self.left[first + number + 1]) + x
            goal = link.end.position + link.end_offset + y
            bend = max((there - here) / 2, 20)
            path += f"C{here + bend:.1f} {height:.1f} {there - bend:.1f} {goal:.1f} {there:.1f} {goal:.1f}"
            here, height = there, goal
            if not last:
                here += self.widths[first + number + 1]
                path += f"H{here:.1f}"
        color = EDGE_COLORS.get(route.arrow.kind, OTHER_EDGE)
        dashes: dict[str, object] = (
            {"stroke_dasharray": _DASHED[route.arrow.kind]} if route.arrow.kind in _DASHED else {}
        )
        return mark(
            "path", d=path, fill="none", stroke=color, stroke_width=1.8, marker_end=f"url(#{_head(route)})", **dashes
        )

    def _label_place(self, route: _Route, x: float, y: float) -> tuple[float, float, Arrow]:
        link, end = route.links[-1], self._ends(route)[1]
        before = self.column[route.arrow.target] - 1
        start = self._ends(route)[0] if len(route.links) == 1 else self.left[before] + self.widths[before]
        height = (link.start.position + link.start_offset + link.end.position + link.end_offset) / 2
        return (start + end - 8) / 2 + x, height + y, route.arrow


def _from_top(outline: Outline, cards: dict[str, Card]) -> list[Arrow]:
    """Arrows by the height at which they arrive, so that those of one input leave it in the same order."""
    order = {name: number for number, name in enumerate(outline.boxes)}
    return sorted(outline.arrows, key=lambda arrow: (order[arrow.target], cards[arrow.target].entry(arrow.target_port)))


def _pieces(
    arrow: Arrow,
    start: float,
    cards: dict[str, Card],
    slots: dict[str, Slot],
    column: dict[str, int],
    layers: list[list[Slot]],
) -> list[Link]:
    links, here, offset = [], slots[arrow.source], start
    for number in range(column[arrow.source] + 1, column[arrow.target]):
        lane = Slot(_LANE)
        layers[number].append(lane)
        links.append(Link(here, offset, lane, _LANE / 2))
        here, offset = lane, _LANE / 2
    links.append(Link(here, offset, slots[arrow.target], cards[arrow.target].entry(arrow.target_port)))
    return links


def _apart(labels: list[tuple[float, float, Arrow]]) -> Iterator[tuple[float, float, Arrow]]:
    """Labels that would lie on each other, moved down."""
    placed: list[tuple[float, float, float]] = []
    for x, y, arrow in sorted(labels, key=lambda label: label[1]):
        half = text_width(arrow.label, 11, bold=True) / 2 + 8
        for other_x, other_y, other_half in placed:
            if abs(x - other_x) < half + other_half and y - other_y < 21:
                y = other_y + 21  # noqa: PLW2901
        placed.append((x, y, half))
        yield x, y, arrow


def _label(x: float, y: float, arrow: Arrow) -> Iterator[str]:
    color = EDGE_COLORS.get(arrow.kind, OTHER_EDGE)
    width = text_width(arrow.label, 11, bold=True) + 14
    yield rect(x - width / 2, y - 9.5, width, 19, 9.5, fill="#ffffff", stroke=color, stroke_width=1)
    yield text(x, y + 4, arrow.label, 11, font_weight=600, fill=color, text_anchor="middle")


def _head(route: _Route) -> str:
    return f"head-{route.arrow.kind if route.arrow.kind in EDGE_COLORS else 'data'}"


def _mask_panels(panels: list[MaskPanel], width: float, top: float) -> tuple[list[str], float]:
    if not panels:
        return [], top - 24
    marks = [mark("path", d=f"M{_MARGIN} {top:.1f}H{width - _MARGIN:.1f}", stroke=PALE)]
    marks.append(text(_MARGIN, top + 28, "Who sees whom, by layer kind", 14, font_weight=700, fill=INK))
    legend = "orange: placeholder tokens; grey: text"
    marks.append(text(width - _MARGIN, top + 28, legend, 11, fill=GREY, text_anchor="end"))
    top += 46
    x, row = _MARGIN, 0.0
    for panel in panels:
        if x > _MARGIN and x + panel.width > width - _MARGIN:
            x, top, row = _MARGIN, top + row + 24, 0.0
        marks += panel.draw(x, top)
        x, row = x + panel.width + 40, max(row, panel.height)
    return marks, top + row


def _page(marks: list[str], width: float, height: float, title: str) -> str:
    heads = [
        mark(
            "marker",
            mark("path", d="M0 0L9 4.5L0 9Z", fill=color),
            id=f"head-{kind}",
            viewBox="0 0 9 9",
            refX=2,
            refY=4.5,
            markerWidth=9,
            markerHeight=9,
            markerUnits="userSpaceOnUse",
            orient="auto",
        )
        for kind, color in EDGE_COLORS.items()
    ]
    from html import escape

    body = [
        mark("title", escape(title)),
        mark("defs", "".join(heads)),
        rect(0, 0, width, height, 16, fill="#ffffff"),
        *marks,
    ]
    return (
        mark(
            "svg",
            "\n" + "\n".join(body) + "\n",
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:.0f} {height:.0f}",
            width=f"{width:.0f}",
            height=f"{height:.0f}",
            font_family=SANS,
        )
        + "\n"
    )
