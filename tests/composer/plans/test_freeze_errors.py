"""Stages that contradict themselves or the model, beside the exact text; `UPDATE_GOLDEN=1` rewrites the texts.

A first line `# tied` or `# dense` chooses the model.
"""

import os
from pathlib import Path

import pytest
from attrs import evolve

from composer import SpecError
from composer.plans.freeze import resolve
from composer.plans.inventory import Inventory
from composer.plans.stage_file import read_stages
from tests.composer.plans.small_model import SCOPE, small_model

HERE = Path(__file__).parent / "freeze_errors"
BROKEN = sorted(HERE.glob("*.yaml"))


def model(path: Path) -> Inventory:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    made = small_model(tied=first == "# tied")
    if first != "# dense":
        return made
    kept = tuple(parameter for parameter in made.parameters if parameter.part not in {"experts", "router"})
    return evolve(made, parameters=kept)


def problems_of(path: Path) -> SpecError:
    try:
        stages, origins = read_stages(path)
    except SpecError as error:
        return error
    _, found = resolve(stages, model(path), SCOPE)
    assert found
    return SpecError(origins.problems(found), origins.sources)


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    text = f"{problems_of(Path(path.name))}\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_no_text_is_left_over() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == {path.stem for path in BROKEN}
