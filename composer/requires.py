"""What a spec requires to be installed.

The syntax is read here by an expression: packaging takes longer to import than a spec takes to check.
"""

import re
from importlib.metadata import PackageNotFoundError, version

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_RELEASE = r"v?\d+(?:\.\d+)*"
_VERSION = rf"{_RELEASE}(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?"
_BOUND = rf"(?:(?:>=|<=|>|<)\s*{_VERSION}|~=\s*v?\d+(?:\.\d+)+|(?:==|!=)\s*(?:{_RELEASE}\.\*|{_VERSION}))"
_REQUIREMENT = re.compile(rf"\s*(?P<name>{_NAME})\s*(?P<bounds>(?:{_BOUND}(?:\s*,\s*{_BOUND})*)?)\s*")


def is_requirement(text: str) -> bool:
    """Whether a text is a package, with or without bounds on its version: `transformers>=5.23,<6`."""
    return _REQUIREMENT.fullmatch(text) is not None


def unmet(requires: str, by: str = "this spec") -> str | None:
    """What is missing, as a sentence; None if a requirement is met.

    Args:
        requires: as in `hf.requires`.
        by: who needs it.

    Raises:
        ValueError: the text is no requirement.
    """
    match = _REQUIREMENT.fullmatch(requires)
    if match is None:
        raise ValueError(f"{requires!r} is no requirement")
    try:
        installed = version(match["name"])
    except PackageNotFoundError:
        return f"{by} needs {requires}, and it is not installed"
    from packaging.specifiers import SpecifierSet  # imported here because only a build pays for it

    if SpecifierSet(match["bounds"]).contains(installed, prereleases=True):
        return None
    return f"{by} needs {requires}, installed is {installed}"
