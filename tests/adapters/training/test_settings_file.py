"""Settings files: read strictly, written so that they read back."""

from pathlib import Path

import pytest

from adapters.quickstart.model import training_settings
from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from adapters.training.settings_file import load_settings, parse_settings, settings_text
from composer import SpecError


def test_what_is_written_reads_back() -> None:
    settings = training_settings(seed=7)
    assert parse_settings(settings_text(settings), "x") == settings


def test_defaults(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("stages: [{name: all, steps: 5, trains: [a]}]\noptimizer: {lr: 1e-4}\n")
    settings = load_settings(tmp_path / "t.yaml")
    assert (settings.optimizer.lr, settings.global_batch, settings.stages[0].trains) == (1e-4, 8, ("a",))


def test_every_slip_of_a_file_is_told_at_once_with_its_line() -> None:
    text = "stages:\n  - {name: a, steps: 1, trains: [x], lr: '1e-4'}\nmicro_batch: 3\nglobal_bach: 2\n"
    with pytest.raises(SpecError) as caught:
        parse_settings(text, "t.yaml")
    assert [p.location and p.location.line for p in caught.value.problems] == [2, 4]
    assert "Remove the quotes" in str(caught.value)
    assert "Did you mean 'global_batch'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("stages: []", "stages"),
        ("stages: [{name: a, steps: 0, trains: [x]}]", "stages[0].steps"),
        ("stages: [{name: a, steps: 1, trains: [x]}]\nmicro_batch: 3", "global_batch"),
        ("stages: [{name: a, steps: 1, trains: [x]}]\noptimizer: {lr: 0}", "optimizer.lr"),
        ("stages: [{name: a, steps: 1, trains: [x]}]\nchat: {user: hello}", "chat.user"),
        ("stages: [{name: a, steps: 1, trains: [x]}]\nmax_length: -1", "max_length"),
    ],
)
def test_values_that_make_no_sense(text: str, path: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_settings(text, "t.yaml")
    assert [problem.path for problem in caught.value.problems] == [path]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        load_settings(tmp_path / "absent.yaml")


def test_every_field_is_described() -> None:
    import attrs

    classes = [Training]
    for cls in classes:
        for field in attrs.fields(attrs.resolve_types(cls)):
            assert field.metadata.get("description"), f"{cls.__name__}.{field.name}"
            classes += [field.type] if attrs.has(field.type) else []
