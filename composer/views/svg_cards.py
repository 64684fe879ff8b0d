"""Boxes of a graph as cards: a title bar by role, a row per port."""

from collections.abc import Iterator

from attrs import frozen

from composer.registry import Port
from composer.views.outline import Box, shape_text
from composer.views.palette import FROZEN, OTHER_ROLE, ROLE_COLORS, RoleColor
from composer.views.svg_marks import GREY, INK, PALE, mark, rect, text, text_width

HEADER = 46.0
ROW = 26.0
INPUT = 50.0
_PAD = 14.0


@frozen
class Card:
    """A box with a size. `arrows_out` is how many arrows leave it: each leaves at a height of its own.

    state: `trained`, `partly` or `frozen`, written on a node's title bar; None: not known.
    """

    box: Box
    arrows_out: int
    state: str | None = None

    @property
    def width(self) -> float:
        """Wide enough for the title and for the ports that share a row."""
        box = self.box
        pill = self._pill_width + 12 if self.state else 0
        widths = [text_width(box.name, 14, bold=True) + pill, text_width(box.kind, 11, mono=True)]
        if box.role == "input":
            return max(widths[0], text_width(_kind(box), 11, mono=True)) + 2 * _PAD + 4
        widths += [_port_width(port) for port in (*box.inputs, *box.outputs)]
        widths += [text_width(shared, 11, mono=True) + 14 for shared in box.shared]
        return max(widths) + 2 * _PAD

    @property
    def height(self) -> float:
        """Title bar and rows; of an input, enough for its arrows."""
        if self.box.role == "input":
            return max(INPUT, self.arrows_out * ROW)
        rows = len(self.box.inputs) + len(self.box.outputs) + len(self.box.shared)
        return HEADER + ROW * rows + 8

    def entry(self, port: str) -> float:
        """Height, from the top, at which arrows to a port arrive."""
        names = [given.name for given in self.box.inputs]
        return HEADER + ROW * (names.index(port) + 0.5) + 4

    def exit(self, port: str, number: int) -> float:
        """Height at which the number-th arrow leaves."""
        if self.box.role == "input":
            return self.height / 2 + ROW * (number - (self.arrows_out - 1) / 2)
        names = [given.name for given in (*self.box.inputs, *self.box.outputs)]
        last = len(names) - 1 - names[::-1].index(port)
        return HEADER + ROW * (last + 0.5) + 4

    def draw(self, x: float, y: float) -> Iterator[str]:
        """The marks, with the upper left corner at x, y."""
        color = FROZEN if self.state == "frozen" else ROLE_COLORS.get(self.box.role, OTHER_ROLE)
        if self.box.role == "input":
            yield rect(x, y, self.width, self.height, 14, fill=color.fill, stroke=color.stroke, **self._dashes())
            middle = y + self.height / 2
            yield text(x + _PAD + 2, middle - 4, self.box.name, 13, font_weight=600)
            yield text(x + _PAD + 2, middle + 13, _kind(self.box), 11, mono=True, fill=GREY)
            return
        yield rect(x, y + 2, self.width, self.height, 10, fill=INK, opacity=0.07)
        yield rect(x, y, self.width, self.height, 10, fill="#ffffff")
        yield mark("path", d=_roof(x, y, self.width), fill=color.fill)
        dashes: dict[str, object] = {"stroke_dasharray": "5 3"} if self.state == "frozen" else {}
        yield rect(x, y, self.width, self.height, 10, fill="none", stroke=color.stroke, stroke_width=1.4, **dashes)
        yield text(x + _PAD, y + 20, self.box.name, 14, font_weight=700, fill=color.ink)
        yield text(x + _PAD, y + 37, self.box.kind, 11, mono=True, fill=color.ink, opacity=0.8)
        if self.state:
            yield from self._pill(x + self.width - _PAD + 4, y + 8, color)
        yield from self._rows(x, y)

    @property
    def _pill_width(self) -> float:
        return text_width(self._state_words, 10, bold=True) + 14

    @property
    def _state_words(self) -> str:
        return "partly trained" if self.state == "partly" else str(self.state)

    def _pill(self, right: float, y: float, color: RoleColor) -> Iterator[str]:
        """What trains is filled, what does not is not."""
        width = self._pill_width
        fill, ink = ("#ffffff", color.ink) if self.state == "frozen" else (color.ink, "#ffffff")
        yield rect(right - width, y, width, 17, 8.5, fill=fill, stroke=color.ink, stroke_width=1)
        yield text(right - width / 2, y + 12, self._state_words, 10, font_weight=600, fill=ink, text_anchor="middle")

    def _rows(self, x: float, y: float) -> Iterator[str]:
        right = x + self.width
        for port in self.box.inputs:
            height = y + self.entry(port.name)
            yield mark("circle", cx=x, cy=height, r=4, fill="#ffffff", stroke=GREY, stroke_width=1.4)
            yield text(x + _PAD, height + 4, port.name, 12)
            place = x + _PAD + text_width(port.name) + 10
            yield text(place, height + 4, shape_text(port.shape), 11, mono=True, fill=GREY)
        for port in self.box.outputs:
            height = y + self.exit(port.name, 0)
            yield mark("circle", cx=right, cy=height, r=4, fill=GREY)
            shape = shape_text(port.shape)
            yield text(right - _PAD, height + 4, shape, 11, mono=True, fill=GREY, text_anchor="end")
            name = right - _PAD - text_width(shape, 11, mono=True) - 8
            yield text(name, height + 4, port.name, 12, text_anchor="end")
        top = y + self.height - ROW * len(self.box.shared)
        if self.box.shared:
            yield mark("path", d=f"M{x:.1f} {top:.1f}H{right:.1f}", stroke=PALE)
        for number, shared in enumerate(self.box.shared):
            words = shared.replace(" = ", " ≡ ")
            yield text(x + _PAD, top + ROW * number + 17, words, 11, mono=True, fill="#be185d")

    def _dashes(self) -> dict[str, object]:
        return {} if self.box.outputs[0].required else {"stroke_dasharray": "5 3"}


def _roof(x: float, y: float, width: float) -> str:
    return (
        f"M{x:.1f} {y + HEADER:.1f}V{y + 10:.1f}a10 10 0 0 1 10 -10H{x + width - 10:.1f}"
        f"a10 10 0 0 1 10 10V{y + HEADER:.1f}Z"
    )


def _kind(box: Box) -> str:
    return f"{box.kind} {shape_text(box.outputs[0].shape)}"


def _port_width(port: Port) -> float:
    return text_width(port.name) + 10 + text_width(shape_text(port.shape), 11, mono=True)
