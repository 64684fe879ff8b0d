"""Mask rules as small tables: which key (across) each query (down) sees."""

from collections.abc import Iterator

from attrs import frozen

from composer.masks import Rule
from composer.views.mask_picture import MaskPicture, draw_mask
from composer.views.palette import EDGE_COLORS
from composer.views.svg_marks import GREY, INK, rect, text, text_width

CELL = 12.0
_STRIP = 16.0
_SIDE = 20.0


@frozen
class MaskPanel:
    """The picture of one rule, and its words beside it."""

    kind: str
    rule: Rule

    @property
    def picture(self) -> MaskPicture:
        """The table."""
        return draw_mask(self.rule)

    @property
    def width(self) -> float:
        """Table and words."""
        words = max(text_width(self.kind, 13, bold=True), text_width(str(self.rule), 11, mono=True), 240)
        return self._table + _SIDE + words

    @property
    def height(self) -> float:
        """The table is the tallest part."""
        return self._table

    @property
    def _table(self) -> float:
        return _STRIP + CELL * len(self.picture.rows)

    def draw(self, x: float, y: float) -> Iterator[str]:
        """The marks, with the upper left corner at x, y."""
        picture = self.picture
        for number, placeholder in enumerate(picture.placeholders):
            color = EDGE_COLORS["scatter"] if placeholder else "#cbd5e1"
            place = _STRIP + CELL * number
            yield rect(x + place, y, CELL - 2, 10, 2, fill=color)
            yield rect(x, y + place, 10, CELL - 2, 2, fill=color)
        for query, row in enumerate(picture.rows):
            for key, seen in enumerate(row):
                color = (EDGE_COLORS["scatter"] if key > query else EDGE_COLORS["mask"]) if seen else "#f1f5f9"
                left, top = x + _STRIP + CELL * key, y + _STRIP + CELL * query
                yield rect(left, top, CELL - 2, CELL - 2, 2, fill=color, opacity=0.75 if seen else 1)
        left = x + self._table + _SIDE
        yield text(left, y + 24, self.kind, 13, font_weight=700, fill=INK)
        yield text(left, y + 43, str(self.rule), 11, mono=True, fill=EDGE_COLORS["mask"])
        yield from self._legend(left, y + 66)
        if picture.note:
            yield text(left, y + 112, picture.note, 11, fill=GREY, font_style="italic")

    def _legend(self, x: float, y: float) -> Iterator[str]:
        later = any(seen for query, row in enumerate(self.picture.rows) for seen in row[query + 1 :])
        lines = [(EDGE_COLORS["mask"], "query (down) sees an earlier key or itself")]
        lines += [(EDGE_COLORS["scatter"], "query sees a later key")] * later
        for number, (color, words) in enumerate(lines):
            yield rect(x, y + 18 * number - 8, 8, 8, 1.5, fill=color, opacity=0.75)
            yield text(x + 14, y + 18 * number, words, 11, fill=GREY)
