"""Bad input: the text on standard error, status 2, no traceback. A bug of ours keeps its traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.cli import app
from adapters.cli.arguments import shipped_specs
from adapters.cli.failure import UsageError
from composer.suggestion import suggestion

Run = Callable[..., object]


def test_a_file_that_is_not_there(run: Run) -> None:
    outcome = run("validate", "specs/gemma4_v.yaml")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err == (
        "specs/gemma4_v.yaml: no such file, and no shipped spec has this name. Did you mean 'gemma4_vl'?\n"
    )


def test_a_name_like_no_other(run: Run) -> None:
    outcome = run("validate", "zzz")
    assert outcome.status == 2
    assert suggestion("zzz", sorted(shipped_specs())) in outcome.err


def test_a_directory_is_no_spec(run: Run, tmp_path: Path) -> None:
    outcome = run("show", str(tmp_path))
    assert (outcome.status, outcome.err) == (2, f"{tmp_path}: is a directory, not a spec file.\n")


def test_every_problem_of_a_spec_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    spec = tmp_path / "broken.yaml"
    spec.write_text("spec: 1\nname: broken\ndescription: two mistakes\ntokens: {image: many}\nedgse: []\n")
    outcome = run("validate", str(spec))
    assert outcome.status == 2
    assert outcome.out == ""
    assert f"{spec}:4:" in outcome.err
    assert f"{spec}:5:1: edgse" in outcome.err
    assert """Did you mean 'edges'?""" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_configuration_that_is_not_there(run: Run, tmp_path: Path) -> None:
    outcome = run("validate", "gemma4_vl", "--hf", str(tmp_path / "nothing"))
    assert outcome.status == 2
    assert str(tmp_path / "nothing") in outcome.err
    assert "Traceback" not in outcome.err


def test_an_override_of_nothing(run: Run) -> None:
    outcome = run("validate", "gemma4_vl", "--set", "hf.text_config.hidden_sise=64")
    assert outcome.status == 2
    assert "hidden_size" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        ["validat", "gemma4_vl"],
        ["validate"],
        ["validate", "gemma4_vl", "--sett", "a=1"],
        ["show", "gemma4_vl", "--format", "png"],
    ],
    ids=" ".join,
)
def test_words_that_are_no_command(run: Run, words: list[str]) -> None:
    outcome = run(*words)
    assert outcome.status == 2
    assert outcome.err
    assert "Traceback" not in outcome.err


def test_a_bug_keeps_its_traceback() -> None:
    assert app.is_for_people(UsageError("the file is not there"))
    assert not app.is_for_people(ZeroDivisionError("ours"))
