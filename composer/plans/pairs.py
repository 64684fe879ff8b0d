"""How many pairs of query and key a mask rule allows on a job's sequences: exact, without making the mask.

A rule allows each query a few stretches of keys, whose ends either stand still or move on with the query. Between the
queries where two of those ends meet, or where the query enters another run or chunk, the number of allowed keys is
linear in the query; so two of them give the sum of all.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise

from attrs import frozen

from composer.masks import (
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
)

type Ends = tuple[tuple[int, int], ...]
"""Stretches of keys, each from its first to the one after its last; in order, apart from each other."""


@frozen
class Sequence:
    """One document of text with `images` images in it, each of `image_tokens` placeholders, spread evenly."""

    seq: int
    images: int = 0
    image_tokens: int = 0
    placeholder: str = "image"

    def __attrs_post_init__(self) -> None:
        if self.images * self.image_tokens > self.seq:
            raise ValueError(
                f"{self.images} images of {self.image_tokens} tokens do not fit into a sequence of {self.seq}: "
                f"at most {self.seq // self.image_tokens} do."
            )

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """First and one after the last position of every run of placeholders; images that touch are one run."""
        text = self.seq - self.images * self.image_tokens
        runs: list[tuple[int, int]] = []
        for image in range(self.images if self.image_tokens else 0):
            start = text * (image + 1) // (self.images + 1) + image * self.image_tokens
            if runs and runs[-1][1] == start:
                start = runs.pop()[0]
            runs.append((start, (image + 1) * self.image_tokens + text * (image + 1) // (self.images + 1)))
        return tuple(runs)


@cache
def allowed_pairs(rule: Rule, sequence: Sequence) -> int:
    """Pairs (query, key) that the rule allows; of padding there is none."""
    total = 0
    for segment in _segments(rule, sequence):
        for first, last in _linear(rule, segment, sequence):
            total += (_count(rule, first, segment, sequence) + _count(rule, last, segment, sequence)) * (
                last - first + 1
            )
    return total // 2


@cache
def reached_pairs(rule: Rule, sequence: Sequence, block: int) -> int:
    """Pairs that attention computes when every block of queries gets one stretch of keys: all it may attend to.

    As `components.fusion.mask_reach` finds it, but from what is allowed: it may take a few keys more there.
    """
    segments = tuple(_segments(rule, sequence))
    total, place = 0, 0
    for first in range(0, sequence.seq, block):
        last = min(first + block, sequence.seq) - 1
        low, high = first, last + 1
        while segments[place].last < first:
            place += 1
        for segment in _overlapping(segments, place, last):
            inside = _Segment(max(first, segment.first), min(last, segment.last), segment.run)
            for query in {query for stretch in _linear(rule, inside, sequence) for query in stretch}:
                if ends := _ends(rule, query, inside, sequence):
                    low, high = min(low, ends[0][0]), max(high, ends[-1][1])
        total += (last - first + 1) * (high - low)
    return total


def is_causal(rule: Rule) -> bool:
    """Whether a rule is `causal`, joined by `&` with windows and document borders only: fused kernels know it."""
    if isinstance(rule, And):
        parts = [rule.left, rule.right]
        return any(is_causal(part) for part in parts) and all(is_causal(part) or _narrows(part) for part in parts)
    return isinstance(rule, Causal)


def _narrows(rule: Rule) -> bool:
    if isinstance(rule, And):
        return _narrows(rule.left) and _narrows(rule.right)
    return isinstance(rule, Window | SameDocument)


@frozen
class _Segment:
    """Queries from first to last in the same run (None: text) and, for every chunk size, the same chunk."""

    first: int
    last: int
    run: tuple[int, int] | None


def _segments(rule: Rule, sequence: Sequence) -> Iterator[_Segment]:
    parts = tuple(leaves(rule))
    borders = {0, sequence.seq}
    for part in parts:
        if isinstance(part, Chunk):
            borders.update(range(0, sequence.seq, part.size))
    runs = sequence.runs if any(isinstance(part, SameRun | Prefix) for part in parts) else ()
    for run in runs:
        borders.update(run)
    ordered = sorted(borders)
    inside = iter((*runs, (sequence.seq, sequence.seq)))
    run = next(inside)
    for start, stop in pairwise(ordered):
        while start >= run[1] and run[0] < sequence.seq:
            run = next(inside)
        yield _Segment(start, stop - 1, run if run[0] <= start < run[1] else None)


def _overlapping(segments: tuple[_Segment, ...], place: int, last: int) -> Iterator[_Segment]:
    while place < len(segments) and segments[place].first <= last:
        yield segments[place]
        place += 1


def _linear(rule: Rule, segment: _Segment, sequence: Sequence) -> Iterator[tuple[int, int]]:
    """Stretches of queries over which the number of keys is linear: cut where a moving end meets one at rest."""
    resting: set[int] = {0, sequence.seq}
    moving: set[int] = set()
    for part in leaves(rule):
        match part:
            case Causal():
                moving.add(1)
            case Window(size):
                moving.add(1 - size)
            case Chunk() | SameRun():
                resting.update(end for stretch in _ends(part, segment.first, segment, sequence) for end in stretch)
            case Prefix():
                resting.add(_last(part, sequence))
    meetings = {rest - move for rest in resting for move in moving}
    starts = [segment.first, *sorted(cut for cut in meetings if segment.first < cut <= segment.last)]
    yield from zip(starts, [start - 1 for start in starts[1:]] + [segment.last], strict=True)


def _count(rule: Rule, query: int, segment: _Segment, sequence: Sequence) -> int:
    return sum(stop - start for start, stop in _ends(rule, query, segment, sequence))


def _ends(rule: Rule, query: int, segment: _Segment, sequence: Sequence) -> Ends:
    """The stretches of keys that one query, of that segment, may attend to."""
    seq = sequence.seq
    match rule:
        case And(left, right):
            return _both(_ends(left, query, segment, sequence), _ends(right, query, segment, sequence))
        case Or(left, right):
            return _joined((*_ends(left, query, segment, sequence), *_ends(right, query, segment, sequence)))
        case Not(inner):
            return _outside(_ends(inner, query, segment, sequence), seq)
        case Bidirectional() | SameDocument():
            return ((0, seq),)
        case Causal():
            return ((0, query + 1),)
        case Window(size):
            return ((max(0, query - size + 1), seq),)
        case Chunk(size):
            start = query - query % size
            return ((start, min(start + size, seq)),)
        case SameRun(names):
            return (segment.run,) if segment.run and sequence.placeholder in names else ()
        case Prefix():
            stop = _last(rule, sequence)
            return ((0, stop),) if query < stop else ()


def _last(rule: Prefix, sequence: Sequence) -> int:
    """The position after the last token that a prefix ends with; 0: there is none."""
    runs = sequence.runs
    return runs[-1][1] if runs and rule.token == sequence.placeholder else 0


def _both(left: Ends, right: Ends) -> Ends:
    met = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return tuple(sorted((start, stop) for start, stop in met if start < stop))


def _joined(stretches: Iterable[tuple[int, int]]) -> Ends:
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def _outside(stretches: Ends, seq: int) -> Ends:
    borders = [0, *(end for stretch in stretches for end in stretch), seq]
    return tuple((a, b) for a, b in zip(borders[::2], borders[1::2], strict=True) if a < b)
