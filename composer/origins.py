"""Where everything in a graph was written, for errors and for `dump --origin`."""

import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen

from composer.errors import Location, Problem
from composer.finding import Finding
from composer.path import Path, PathSyntaxError, parse_path
from composer.tree import Tree

_EDGE = re.compile(r"^edges\[(\d+)\]")


@frozen
class Origins:
    """The document a graph was read from.

    `tree` is the resolved document, `sources` the text of each file it came from, `hf_overrides` the command line
    options that changed the configuration, by path.
    """

    tree: Tree
    sources: Mapping[str, str] = field(repr=False)
    hf_overrides: Mapping[Path, str] = field(factory=dict)

    def origin(self, path: Path) -> str | None:
        """`file:line`, `--set path=value` or `hf.field`; None for a value that nobody wrote."""
        tree, depth = self.tree.nearest(path)
        if depth < len(path):
            return None
        if tree.hf is not None:
            read = parse_path(tree.hf)
            for changed, option in self.hf_overrides.items():
                if read[: len(changed)] == changed:
                    return f"{tree.hf} ({option})"
        return tree.origin

    def problems(self, findings: Iterable[Finding]) -> list[Problem]:
        """Findings with their places, and in their words those of what they are about."""

        def place(path: str) -> Location:
            return self.tree.locate(_path(path))

        return [
            Problem(self._location(finding), finding.path, finding.text(lambda path: str(place(path))))
            for finding in findings
        ]

    def _location(self, finding: Finding) -> Location:
        if finding.key is not None:
            return self.tree.nearest(finding.key)[0].key_location
        path = _path(finding.path)
        tree, depth = self.tree.nearest(path)
        character = tree.character(finding.column - 1) if finding.column and depth == len(path) else None
        return character or self.tree.locate(path)


def renumber(finding: Finding, numbers: Sequence[int]) -> Finding:
    """A finding about the i-th edge as one about edge `numbers[i]`."""

    def path(text: str) -> str:
        return _EDGE.sub(lambda match: f"edges[{numbers[int(match[1])]}]", text)

    return evolve(finding, path=path(finding.path), related=tuple(map(path, finding.related)))


def _path(text: str) -> Path:
    try:
        return parse_path(text)
    except PathSyntaxError:
        return ()
