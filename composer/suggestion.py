"""Did-you-mean, worded once for every kind of unknown name."""

from collections.abc import Iterable

_MAX_LISTED = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be."""
    # difflib is imported here because only a spec with an error pays for it.
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A sentence that helps with an unknown `word`: the nearest known name, else the names there are, else nothing."""
    names = sorted(set(known))
    if close := nearest(word, names):
        return f" Did you mean {close!r}?"
    if not names:
        return ""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f" Known: {', '.join(names[:_MAX_LISTED])}{more}."
