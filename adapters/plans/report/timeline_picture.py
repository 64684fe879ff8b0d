"""The pipeline's timeline as SVG: a row per rank, a box per micro-batch and direction; long ones without their middle.

Places along the time are shares of the picture's width, so that letters keep their size on a narrow page.
"""

from collections.abc import Iterator

from attrs import frozen

from adapters.plans.words import seconds
from composer.plans.timeline import Span, Timeline
from composer.views.svg_marks import mark

ROW, BOX, TOP, FOOT = 34, 26, 4, 26
LABEL = 7.0
"""Share of the width, in percent, that the ranks' names take."""
DRAWN = 30
"""As many micro-batches' worth of time is drawn at most, half from either end."""
GAP = 3.0
"""Share of the width, in percent, that stands for what is left out."""


@frozen
class Window:
    """Which stretches of time are drawn: all, or the first and the last `ends` seconds of `total`."""

    total: float
    ends: float | None

    def place(self, time: float) -> float:
        """Percent of the picture's width."""
        room = 100 - LABEL
        if self.ends is None:
            return LABEL + room * time / self.total
        half = (room - GAP) / 2
        if time <= self.ends:
            return LABEL + half * time / self.ends
        return 100 - half * (self.total - time) / self.ends

    def parts(self, span: Span) -> Iterator[tuple[float, float]]:
        """Start and end of what is seen of a span."""
        if self.ends is None:
            yield span.start, span.end
            return
        if span.start < self.ends:
            yield span.start, min(span.end, self.ends)
        late = self.total - self.ends
        if span.end > late:
            yield max(span.start, late), span.end


def window_of(timeline: Timeline, micro_batches: int) -> Window:
    """All of a short timeline; of a long one both ends, each with the whole of its bubble."""
    total = timeline.total
    if micro_batches <= DRAWN:
        return Window(total, None)
    pace = max(timeline.busy(rank) for rank in range(len(timeline.ranks))) / micro_batches
    bubble = (total - pace * micro_batches) / 2
    ends = max(DRAWN / 2 * pace, bubble + 3 * pace)
    return Window(total, ends if 2 * ends < total else None)


def timeline_svg(timeline: Timeline, micro_batches: int) -> str:
    """The picture; colours are classes of the page: `forward`, `backward`, `idle`, and `late` on higher stages."""
    window = window_of(timeline, micro_batches)
    ranks = len(timeline.ranks)
    height = TOP + ranks * ROW + FOOT
    marks = [part for rank, spans in enumerate(timeline.ranks) for part in _row(rank, spans, window)]
    marks += _axis(window, TOP + ranks * ROW)
    if window.ends is not None:
        left = 100 - (100 - LABEL - GAP) / 2 - GAP
        marks.append(_text(left + GAP / 2, TOP + ranks * ROW / 2 + 4, "⋯", "gap"))
    return mark(
        "svg",
        "\n".join(marks),
        xmlns="http://www.w3.org/2000/svg",
        width="100%",
        height=height,
        role="img",
        class_="timeline",
        aria_label=f"{micro_batches} micro-batches on {ranks} pipeline ranks",
    )


def _row(rank: int, spans: tuple[Span, ...], window: Window) -> Iterator[str]:
    top = TOP + rank * ROW
    yield _text(0, top + BOX / 2 + 4, f"rank {rank}", "rank")
    ends = (
        [(0.0, window.total)]
        if window.ends is None
        else [(0.0, window.ends), (window.total - window.ends, window.total)]
    )
    for start, end in ends:
        yield _box(window, start, end, top, "idle")
    for span in spans:
        work = span.work
        for start, end in window.parts(span):
            stage = f", virtual stage {work.virtual}" if max(each.work.virtual for each in spans) else ""
            title = mark(
                "title",
                f"{work.direction} of micro-batch {work.micro_batch + 1}{stage}: {seconds(span.end - span.start)} "
                f"from {seconds(span.start)}",
            )
            kind = f"{work.direction} v{work.virtual % 2}"
            yield mark(
                "g", title + _box(window, start, end, top, kind) + _number(window, start, end, top, work.micro_batch)
            )


def _box(window: Window, start: float, end: float, top: float, kind: str) -> str:
    # Both ends count from the side that they are near, so that neighbours in the two halves stay in place.
    left = _left(window, start)
    right = window.place(end)
    return mark("rect", x=_percent(left), y=top, width=_percent(right - left), height=BOX, rx=2, class_=kind)


def _left(window: Window, start: float) -> float:
    """A start on the border of the second stretch belongs to that stretch."""
    if window.ends is not None and abs(start - (window.total - window.ends)) < 1e-9:
        return 100 - (100 - LABEL - GAP) / 2
    return window.place(start)


def _number(window: Window, start: float, end: float, top: float, micro_batch: int) -> str:
    left, right = _left(window, start), window.place(end)
    words = str(micro_batch + 1)
    if right - left < 0.75 * len(words) + 0.5:
        return ""
    wide = "number" if right - left > 1.5 * len(words) + 0.6 else "number small"
    return _text((left + right) / 2, top + BOX / 2 + 4, words, wide)


def _axis(window: Window, top: float) -> Iterator[str]:
    times = [0.0, window.total] if window.ends is None else [0.0, window.ends, window.total - window.ends, window.total]
    for number, time in enumerate(times):
        anchor = "start" if number == 0 else "end" if number == len(times) - 1 else "end" if number == 1 else "start"
        yield _text(_left(window, time), top + 16, seconds(time), f"tick {anchor}")


def _text(percent: float, y: float, words: str, kind: str) -> str:
    return mark("text", words, x=_percent(percent), y=y, class_=kind)


def _percent(value: float) -> str:
    return f"{value:.3f}%"
