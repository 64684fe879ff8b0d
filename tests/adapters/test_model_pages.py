"""Cards name what the pages of layouts prove."""

from pathlib import Path

import pytest

from adapters.model_pages import HEADINGS, proven_layouts, row

MODELS = Path(__file__).parents[2] / "docs" / "models"
SPECS = sorted(file.stem for file in (MODELS.parents[1] / "specs").glob("*.yaml"))


def test_layouts_are_read_by_model(tmp_path):
    rows = [("dense", "tp2"), ("experts", "tp2 +sp"), ("dense", "pp2")]
    table = [row(HEADINGS), "|---|", *(row((*names, *["0"] * 6)) for names in rows)]
    (tmp_path / "a.layouts.md").write_text("\n".join(["# a | b", "", "- text", "", *table]) + "\n")
    assert proven_layouts(tmp_path, "a") == {"dense": ("tp2", "pp2"), "experts": ("tp2 +sp",)}
    assert proven_layouts(tmp_path, "b") == {}


@pytest.mark.parametrize("spec", SPECS)
def test_every_card_names_the_layouts_that_are_proved(spec):
    card = (MODELS / f"{spec}.md").read_text()
    proved = proven_layouts(MODELS, spec)
    assert proved
    assert all(f"- {model}: {', '.join(layouts)}\n" in card for model, layouts in proved.items())
    for layouts in proved.values():
        words = {word for layout in layouts for word in layout.replace(" +", "x").split("x")}
        assert {"tp2", "pp2", "cp2"} <= words
    assert "experts" not in proved or "ep2" in proved["experts"]
