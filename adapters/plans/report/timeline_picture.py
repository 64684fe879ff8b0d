"""The pipeline's timeline as SVG: a row per rank, a box per micro-batch and direction; long ones without their middle.

Places along the time are shares of the picture's width, so that letters keep their size on a narrow page.
"""

from collections.abc import Iterator

from attrs import frozen

from adapters.plans.report.words import seconds
from composer.plans.timeline import Span, Timeline
from composer.views.svg_marks import mark

ROW, BOX, TOP, FOOT = 34, 26, 4, 22
DRAWN = 24
"""So many passes through a stage, forward and backward, are drawn in a row; of more, half from either end."""
GAP = 3.0
"""Percent of the width that stands for what is left out."""
DIGIT, DIGIT_NARROW = 0.66, 1.45
"""Percent of the width that a digit takes at most: on a wide page, on one of 600 px."""


@frozen
class Window:
    """Which stretches of time are drawn: all of `total` seconds, or the first and the last `ends`."""

    total: float
    ends: float | None

    @property
    def stretches(self) -> tuple[tuple[float, float], ...]:
        """Start and end of each."""
        if self.ends is None:
            return ((0.0, self.total),)
        return ((0.0, self.ends), (self.total - self.ends, self.total))

    def boxes(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """Left side and width, in percent, of what is seen of a stretch of time."""
        width = 100.0 if self.ends is None else (100.0 - GAP) / 2
        for number, (first, last) in enumerate(self.stretches):
            seen, until = max(start, first), min(end, last)
            if until - seen > 1e-6 * (last - first):  # not what rounding leaves at a border
                scale = width / (last - first)
                yield number * (100.0 - width) + (seen - first) * scale, (until - seen) * scale


def window_of(timeline: Timeline) -> Window:
    """All of a short timeline; of a long one both ends, each with all of its bubble."""
    total, spans = timeline.total, timeline.ranks[0]
    passes = len(spans) / 2
    if passes <= DRAWN:
        return Window(total, None)
    pace = max(timeline.busy(rank) for rank in range(len(timeline.ranks))) / passes
    filled = min(span.start for span in spans if span.work.direction == "backward")
    emptied = total - max(span.end for span in spans if span.work.direction == "forward")
    ends = max(DRAWN / 2 * pace, max(filled, emptied) + 2 * pace)
    return Window(total, ends if 2 * ends < total else None)


def timeline_svg(timeline: Timeline, *, timed: bool) -> str:
    """The picture; colours are classes of the page: `forward`, `backward`, `idle`, `v1` on every second virtual stage.

    timed: seconds mean something, and are written.
    """
    window, ranks = window_of(timeline), len(timeline.ranks)
    marks = [part for rank, spans in enumerate(timeline.ranks) for part in _row(rank, spans, window, timed=timed)]
    marks += _axis(window, TOP + ranks * ROW) if timed else []
    if window.ends is not None:
        marks.append(_text(50.0, TOP + ranks * ROW / 2, "⋯", "gap"))
    micro_batches = 1 + max(span.work.micro_batch for span in timeline.ranks[0])
    return mark(
        "svg",
        "\n".join(marks),
        xmlns="http://www.w3.org/2000/svg",
        width="100%",
        height=TOP + ranks * ROW + (FOOT if timed else 0),
        role="img",
        class_="timeline",
        aria_label=f"{micro_batches} micro-batches on {ranks} pipeline ranks",
    )


def _row(rank: int, spans: tuple[Span, ...], window: Window, *, timed: bool) -> Iterator[str]:
    top = TOP + rank * ROW
    for start, end in window.stretches:
        yield from (_box(left, width, top, "idle") for left, width in window.boxes(start, end))
    digits = len(str(1 + max(span.work.micro_batch for span in spans)))
    for span in spans:
        for left, width in window.boxes(span.start, span.end):
            kind = f"{span.work.direction} v{span.work.virtual % 2}"
            number = _number(left, width, top, span.work.micro_batch + 1, digits)
            yield mark("g", mark("title", _title(span, timed=timed)) + _box(left, width, top, kind) + number)


def _title(span: Span, *, timed: bool) -> str:
    work = span.work
    words = f"micro-batch {work.micro_batch + 1}, virtual stage {work.virtual}, {work.direction}"
    return f"{words}: {seconds(span.end - span.start)} from {seconds(span.start)}" if timed else words


def _number(left: float, width: float, top: float, number: int, digits: int) -> str:
    """A micro-batch's number where any number would fit, so that rows do not stop counting at ten."""
    if width < DIGIT * digits + 0.2:
        return ""
    kind = "number" if width > DIGIT_NARROW * digits + 0.2 else "number small"
    return _text(left + width / 2, top + BOX / 2 + 4, str(number), kind)


def _box(left: float, width: float, top: float, kind: str) -> str:
    return mark("rect", x=_percent(left), y=top, width=_percent(width), height=BOX, rx=2, class_=kind)


def _axis(window: Window, top: float) -> Iterator[str]:
    for number, (start, end) in enumerate(window.stretches):
        left = 0.0 if number == 0 else (100.0 + GAP) / 2
        right = 100.0 if end == window.total else (100.0 - GAP) / 2
        yield _text(left, top + 14, seconds(start), "tick start")
        yield _text(right, top + 14, seconds(end), "tick end")


def _text(left: float, y: float, words: str, kind: str) -> str:
    return mark("text", words, x=_percent(left), y=y, class_=kind)


def _percent(value: float) -> str:
    return f"{value:.3f}%"
