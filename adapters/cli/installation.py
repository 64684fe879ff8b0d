"""What is installed, beside what the project asks for. Reads metadata only: nothing heavy is imported."""

import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

from attrs import frozen
from packaging.requirements import Requirement

DISTRIBUTION = "vlm-composer"
IMPORT_NAMES = ("composer", "components", "adapters", "specs")
PYTHON = (3, 12)


@frozen
class Finding:
    """One line of the report."""

    name: str
    wanted: str
    found: str
    fine: bool
    required: bool
    note: str = ""


def python_finding() -> Finding:
    """The interpreter's version."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    wanted = ".".join(str(part) for part in PYTHON)
    return Finding("python", f"{wanted}.*", found, sys.version_info[:2] == PYTHON, required=True)


def package_findings() -> list[Finding]:
    """Every dependency the distribution declares for this interpreter, and the optional ones after them."""
    try:
        declared = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        note = "install it: pip install -e ."
        return [Finding(DISTRIBUTION, "installed", "not installed", fine=False, required=True, note=note)]
    needed = [finding_of(item, required=True) for item in declared if holds(item, extra="")]
    optional = [
        finding_of(item, required=False, note=f"extra [{extra}]")
        for extra in ("te", "deepspeed", "quickstart")
        for item in declared
        if not holds(item, extra="") and holds(item, extra=extra)
    ]
    return needed + optional


def holds(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement applies on this interpreter when `extra` is asked for."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def finding_of(requirement: Requirement, *, required: bool, note: str = "") -> Finding:
    """Compare one requirement with what is installed."""
    wanted = str(requirement.specifier) or "any"
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return Finding(requirement.name, wanted, "not installed", fine=False, required=required, note=note)
    fine = requirement.specifier.contains(found, prereleases=True)
    return Finding(requirement.name, wanted, found, fine, required, note)


def name_findings(root: Path) -> list[Finding]:
    """Whether the four import names are ours: `adapters` is also a distribution of its own on the package index."""
    owners = owners_of(IMPORT_NAMES)
    findings = []
    for name in IMPORT_NAMES:
        spec = importlib.util.find_spec(name)
        places = list(dict.fromkeys(map(Path, spec.submodule_search_locations or ()))) if spec else []
        others = owners[name] - {DISTRIBUTION}
        fine = places == [root / name] and not others
        note = "" if fine else explain(name, places, root, others)
        found = "here" if fine else owned_by(places, others)
        findings.append(Finding(f"import {name}", DISTRIBUTION, found, fine, True, note))
    return findings


def owned_by(places: list[Path], others: set[str]) -> str:
    """Who answers to an import name, in a few words."""
    return ", ".join(sorted(others)) or ", ".join(str(place) for place in places) or "nobody"


def explain(name: str, places: list[Path], root: Path, others: set[str]) -> str:
    """What is wrong with an import name, and what to do."""
    if others:
        names = ", ".join(sorted(others))
        return f"the distribution {names} also owns the import name `{name}`: pip uninstall {names}"
    return f"`import {name}` finds {', '.join(map(str, places)) or 'nothing'}, not {root / name}"


def owners_of(names: Iterable[str]) -> dict[str, set[str]]:
    """Installed distributions whose files or top-level list claim an import name."""
    owners: dict[str, set[str]] = {name: set() for name in names}
    for distribution in distributions():
        claimed = set((distribution.read_text("top_level.txt") or "").split())
        # The file list is read as text: `Distribution.files` looks at every file and takes seconds.
        claimed |= {line.partition("/")[0] for line in (distribution.read_text("RECORD") or "").splitlines()}
        for name in owners.keys() & claimed:
            owners[name].add(distribution.metadata["Name"])
    return owners
