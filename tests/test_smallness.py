"""What the language can say is used by several shipped specs, or listed with a reason."""

import re
from pathlib import Path

from composer.edges import KINDS
from docs.usage import said, sayable

PAGE = Path(__file__).resolve().parents[1] / "docs" / "decisions" / "0024-smallness-of-the-language.md"
NOBODY, ONE = "Used by no shipped spec", "Used by one spec"


def rows(heading: str) -> list[tuple[set[str], str]]:
    """What the rows of a table of the page are about, each with the text of the cell behind."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    found = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", rest.partition("\n## ")[0], re.MULTILINE)
    return [(set(re.findall(r"`([^`]+)`", cell)), behind.strip()) for cell, behind in found]


def listed(heading: str) -> set[str]:
    return {name for names, _ in rows(heading) for name in names}


def test_what_no_spec_uses_has_a_reason() -> None:
    assert sorted(set(sayable()) - said().keys() - listed(NOBODY)) == []


def test_what_one_spec_uses_has_a_reason_beside_its_name() -> None:
    alone = {name: said()[name][0] for name in sayable() if len(said().get(name, ())) == 1}
    assert {name: spec for names, spec in rows(ONE) for name in names} == alone


def test_no_reason_is_left_over() -> None:
    assert sorted(listed(NOBODY) & said().keys()) == []
    assert sorted(listed(NOBODY) - set(sayable())) == []


def test_every_edge_kind_is_in_the_first_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}` |" not in text] == []
