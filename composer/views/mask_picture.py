"""A mask rule drawn on a sequence short enough to look at."""

from attrs import evolve, frozen

from composer.masks import And, Chunk, Layout, Not, Or, Rule, Window, allowed, leaves, tokens

_TEXT, _RUN, _BETWEEN, _SECOND_RUN, _TAIL = 1, 5, 2, 2, 1
_SIZE = 4  # a window or a chunk that would not show


@frozen
class MaskPicture:
    """Which pairs a rule allows: `rows[query][key]`, on a sequence where `placeholders` marks the named tokens."""

    placeholders: tuple[bool, ...]
    rows: tuple[tuple[bool, ...], ...]
    note: str  # what was shrunk, or ""


def draw_mask(rule: Rule) -> MaskPicture:
    """A dozen tokens: text, a run of placeholders longer than the window, text, a short run, text."""
    name = next(iter(tokens(rule)), "image")
    stretches = ((None, _TEXT), (name, _RUN), (None, _BETWEEN), (name, _SECOND_RUN), (None, _TAIL))
    layout = Layout(tuple(token for token, number in stretches for _ in range(number)))
    length = len(layout.tokens)
    small = _shrink(rule, length)
    rows = tuple(tuple(allowed(small, query, key, layout) for key in range(length)) for query in range(length))
    sizes = [f"{type(leaf).__name__.lower()} drawn as {_SIZE}" for leaf in leaves(rule) if _too_long(leaf, length)]
    return MaskPicture(tuple(token is not None for token in layout.tokens), rows, ", ".join(dict.fromkeys(sizes)))


def _too_long(rule: Rule, length: int) -> bool:
    return isinstance(rule, Window | Chunk) and rule.size >= length - 1


def _shrink(rule: Rule, length: int) -> Rule:
    match rule:
        case And(left, right) | Or(left, right):
            return evolve(rule, left=_shrink(left, length), right=_shrink(right, length))
        case Not(inner):
            return Not(_shrink(inner, length))
        case Window() | Chunk() if _too_long(rule, length):
            return evolve(rule, size=_SIZE)
    return rule
