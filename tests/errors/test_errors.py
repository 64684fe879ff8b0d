"""Each broken spec beside the exact text it gives; `UPDATE_GOLDEN=1` rewrites the texts.

Lines `# --set path=value` at the top of a spec are given as overrides.
"""

import os
from pathlib import Path

import pytest

from composer import SpecError, load

HERE = Path(__file__).parent
BROKEN = sorted(HERE.glob("*.yaml"))


def overrides(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line.removeprefix("# --set ") for line in lines if line.startswith("# --set ")]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(SpecError) as caught:
        load(path.name, overrides=overrides(path))
    text = f"{caught.value}\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_no_text_is_left_over() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == {path.stem for path in BROKEN}
    assert len(BROKEN) >= 30
