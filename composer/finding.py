"""What a static check has to say, before anybody knows in which file."""

import re
from collections.abc import Callable

from attrs import frozen

from composer.path import Path

_PLACE = re.compile(r"\{(\d+)\}")


@frozen
class Finding:
    """One thing wrong with a graph.

    `path` is like `nodes.projector.in_dim` or `edges[3].at`. In `message`, `{0}` and `{1}` stand for the places
    `related[0]` and `related[1]`; other braces are text. `column` is a character of the text at `path`, from 1. `key`
    is the place of what is wrong where that is a key that no path can be written with.
    """

    path: str
    message: str
    related: tuple[str, ...] = ()
    column: int | None = None
    key: Path | None = None

    def text(self, where: Callable[[str], str] = str) -> str:
        """The message with every `{i}` replaced by `where(related[i])`: the path itself unless told better."""

        def place(match: re.Match[str]) -> str:
            number = int(match[1])
            return where(self.related[number]) if number < len(self.related) else match[0]

        return _PLACE.sub(place, self.message)
