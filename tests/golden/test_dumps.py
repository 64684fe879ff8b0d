"""Every shipped spec, resolved: a changed default or size shows in review. `UPDATE_GOLDEN=1` rewrites."""

import os
from pathlib import Path

import pytest

from composer import dump, load, loads
from tests.composer.specs import SHIPPED

HERE = Path(__file__).parent


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_dump(path: Path) -> None:
    text = dump(load(path))
    golden = HERE / f"{path.stem}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_golden_text_loads_to_the_same_graph(path: Path) -> None:
    assert loads((HERE / f"{path.stem}.yaml").read_text(encoding="utf-8")) == load(path)


def test_no_golden_text_is_left_over() -> None:
    assert {path.stem for path in HERE.glob("*.yaml")} == {path.stem for path in SHIPPED}
