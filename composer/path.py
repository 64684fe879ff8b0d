"""Paths into a document: `edges[3].at`."""

import re

type Path = tuple[str | int, ...]

_PATH = re.compile(r"[\w-]+(\[[0-9]+\])*(\.[\w-]+(\[[0-9]+\])*)*")
_STEP = re.compile(r"[\w-]+|\[[0-9]+\]")


class PathSyntaxError(ValueError):
    """Text that is no path: names joined by dots, indices in brackets."""


def parse_path(text: str) -> Path:
    """`edges[3].at` as `("edges", 3, "at")`.

    Raises:
        PathSyntaxError: anything but names joined by dots with indices in brackets.
    """
    if not _PATH.fullmatch(text):
        raise PathSyntaxError(f"{text!r} is no path. Join names by dots and put indices in brackets, as in a.b[2].c.")
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in _STEP.findall(text))


def format_path(path: Path, *, after_name: bool = False) -> str:
    """`("edges", 3, "at")` as `edges[3].at`; `after_name`: as the continuation of another path."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text if after_name else text.removeprefix(".")
