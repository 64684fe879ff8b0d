"""The documentation: what is generated is up to date, links lead somewhere, and the specs in it load."""

import re
from pathlib import Path

import pytest
import torch

from adapters.megatron import build, runtime
from composer import SpecError, load, masks
from composer.registry import components
from docs.generate import files
from docs.usage import TERMS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s]+)\)")


@pytest.mark.parametrize("name", ["spec-reference.md", "who-says-what.md", "gemma4_vl.svg"])
def test_what_is_generated_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == files()[name], "run `make docs`"


def test_the_reference_has_every_mask_rule() -> None:
    assert set(TERMS.values()) == set(masks.Rule.__value__.__args__)


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    rows = [path for path in sorted(folder.glob("0*.md")) if f"[{path.name[:4]}]({path.name})" not in index]
    assert rows == []


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


@pytest.fixture
def first_spec(tmp_path: Path) -> Path:
    """The one whole spec of docs/first-spec.md, as a file."""
    text = (ROOT / "docs" / "first-spec.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (whole,) = [block for block in blocks if block.startswith("spec: 1")]
    path = tmp_path / "my_llava.yaml"
    path.write_text(whole, encoding="utf-8")
    return path


def test_the_first_spec_runs(first_spec: Path) -> None:
    runtime.init(seed=1)
    model = build(load(first_spec))
    ids = torch.full((2, 24), 7)
    ids[:, 3:19] = 500  # sixteen rows of a picture of 64 x 64 pixels
    logits = model(ids, None, None, pixel_values=torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 24, 512)
    assert torch.isfinite(logits).all()


def test_the_first_spec_has_the_error_it_speaks_of(first_spec: Path) -> None:
    with pytest.raises(SpecError) as error:
        load(first_spec, overrides=["nodes.projector.out_dim=96"])
    assert "96" in str(error.value)
    assert "128" in str(error.value)


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_families_table_agrees_with_specs_and_cards(spec: Path) -> None:
    """Lines of the spec, and bounds of the errors on its parity card: true, and not ten times too wide.

    The last digits of an error are rounding, which differs from machine to machine.
    """
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Families")[2]
    (row,) = re.findall(rf"^\| \[`{spec.stem}`\]\(.*$", table, re.MULTILINE)
    card = (ROOT / "docs" / "models" / f"{spec.stem}.md").read_text(encoding="utf-8")
    variants = [line.split(" | ") for line in card.splitlines() if re.match(r"\| [^|]+ \| [\d,]+ \| ", line)]
    said = [cell.strip() for cell in row.split("|")]
    assert said[3] == str(len(spec.read_text().splitlines()))
    logits = max(float(cells[4]) for cells in variants)
    gradients = max(float(cells[7].split()[0]) for cells in variants)
    assert logits <= float(said[5]) <= 10 * logits
    assert gradients <= float(said[6]) <= 10 * gradients


def test_the_reference_has_ports_of_every_component() -> None:
    text = (ROOT / "docs" / "spec-reference.md").read_text(encoding="utf-8")
    own = {name for name, each in components().items() if each.implementation.startswith("components.")}
    sections = {name: text.partition(f"\n### {name}\n")[2].partition("\n### ")[0] for name in own}
    assert [name for name, section in sections.items() if "| port | | type | shape |" not in section] == []
