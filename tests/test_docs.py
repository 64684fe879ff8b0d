"""The documentation: what is generated is up to date, links lead somewhere, and the specs in it load."""

import re
from pathlib import Path

import pytest

from composer import load, masks
from docs.generate import PAGE, TERMS, page

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s]+)\)")


def test_the_reference_is_what_the_classes_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_reference_has_every_mask_rule() -> None:
    assert set(TERMS.values()) == set(masks.Rule.__value__.__args__)


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as the hosting site makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        file, _, anchor = link.partition("#")
        target = source.parent / file if file else source
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_first_spec_is_a_spec(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "first-spec.md").read_text(), re.DOTALL | re.MULTILINE)
    whole = [block for block in blocks if block.startswith("spec: 1")]
    assert len(whole) == 1
    path = tmp_path / "first.yaml"
    path.write_text(whole[0])
    assert load(path).name == "my_llava"
