"""What a static check has to say, before anybody knows in which file."""

import re
from collections.abc import Callable

from attrs import frozen

_PLACE = re.compile(r"\{(\d+)\}")


@frozen
class Finding:
    """One thing wrong with a graph.

    `path` is like `nodes.projector.in_dim` or `edges[3].at`. In `message`, `{0}` and `{1}` stand for the places
    `related[0]` and `related[1]`; other braces are text.
    """

    path: str
    message: str
    related: tuple[str, ...] = ()

    def text(self, where: Callable[[str], str] = str) -> str:
        """The message with every `{i}` replaced by `where(related[i])`: the path itself unless told better."""

        def place(match: re.Match[str]) -> str:
            number = int(match[1])
            return where(self.related[number]) if number < len(self.related) else match[0]

        return _PLACE.sub(place, self.message)
