"""What is wrong with a spec, and where: locations, problems, and the one exception that carries them all."""

from collections.abc import Iterable, Mapping

from attrs import frozen

_MARGIN = "    "
_MAX_WIDTH = 160
_COMMAND_LINE = "--set "


@frozen
class Location:
    """A place in a file; line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """`file:line:column`; a command line option stands for itself."""
        return self.file if self.on_command_line else f"{self.file}:{self.line}:{self.column}"

    @property
    def on_command_line(self) -> bool:
        """True for a value that was given by `--set` and so has no line of its own."""
        return self.file.startswith(_COMMAND_LINE)


@frozen
class Problem:
    """One thing wrong with a spec: where, at which path (`nodes.projector.in_dim`), and what."""

    location: Location | None
    path: str
    message: str

    def headline(self) -> str:
        """`file:line:column: path: message`, leaving out what is not known."""
        parts = [self.path, self.message] if self.path else [self.message]
        if self.location is not None:
            parts.insert(0, str(self.location))
        return ": ".join(parts)


class SpecError(Exception):
    """Everything found wrong with a spec in one run.

    `str()` gives one block per problem, sorted by file, line and column: the headline, the source line, a caret.
    """

    def __init__(self, problems: Iterable[Problem], sources: Mapping[str, str] | None = None) -> None:
        """Sort and keep the problems.

        Args:
            problems: what was found, in any order; repetitions are dropped.
            sources: file name to text, for the source lines.
        """
        self.problems = tuple(sorted(dict.fromkeys(problems), key=_position))
        self.sources = dict(sources or {})
        super().__init__(self.problems)

    def __str__(self) -> str:
        """All problems, ready for a terminal."""
        lines = {file: text.splitlines() for file, text in self.sources.items()}
        return "\n".join(_block(problem, lines) for problem in self.problems)


def _position(problem: Problem) -> tuple[int, str, int, int, str, str]:
    place = problem.location
    if place is None:
        return (0, "", 0, 0, problem.path, problem.message)
    return (1 + place.on_command_line, place.file, place.line, place.column, problem.path, problem.message)


def _block(problem: Problem, sources: Mapping[str, list[str]]) -> str:
    place = problem.location
    if place is None or place.on_command_line or not 0 < place.line <= len(sources.get(place.file, ())):
        return problem.headline()
    shown, caret = _window(sources[place.file][place.line - 1], place.column - 1)
    return f"{problem.headline()}\n{_MARGIN}{shown}\n{_MARGIN}{' ' * caret}^"


def _window(line: str, caret: int) -> tuple[str, int]:
    """The part of a long line around the caret, without characters that would steer a terminal."""
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line.rstrip())
    start = max(0, min(caret - _MAX_WIDTH // 2, len(line) - _MAX_WIDTH))
    return line[start : start + _MAX_WIDTH], caret - start
