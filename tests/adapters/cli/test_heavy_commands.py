"""parity, prove, train, quickstart and doctor: that the words reach the work, and its verdict the exit status."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.cli import doctor as doctor_command
from adapters.cli import installation
from adapters.quickstart.data import DataSizes, write_data
from adapters.quickstart.model import VOCAB_SIZE, overrides, training_settings
from adapters.training.settings_file import settings_text

Run = Callable[..., object]
# The rule of the full layers, with which the shipped spec is neither what transformers does nor what it should be.
WRONG_RULE = ["--set", "edges[6].rules.full_attention=bidirectional"]


@pytest.mark.slow
def test_parity_green_writes_a_card_and_red_does_not(run: Run, tmp_path: Path) -> None:
    green = run("parity", "gemma4_vl", "--card", str(tmp_path))
    assert green.status == 0, green.out
    assert "113/113" in green.out
    card = tmp_path / "gemma4_vl.md"
    assert "Gemma4ForConditionalGeneration" in card.read_text(encoding="utf-8")
    card.unlink()

    red = run("parity", "gemma4_vl", "--card", str(tmp_path), *WRONG_RULE)
    assert red.status == 1
    assert "NO PARITY" in red.out
    assert not card.exists()


@pytest.mark.slow
def test_prove_says_no_with_its_exit_status(run: Run) -> None:
    assert run("prove", "gemma4_vl").status == 0
    red = run("prove", "gemma4_vl", *WRONG_RULE)
    assert red.status == 1
    assert "NOT PROVED" in red.out


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    """Words that train the quickstart's model on a few of its pictures."""
    write_data(tmp_path / "data", DataSizes(training=40, heldout=1), VOCAB_SIZE, seed=1)
    settings = tmp_path / "training.yaml"
    settings.write_text(settings_text(training_settings(1)), encoding="utf-8")
    sizes = [word for override in overrides() for word in ("--set", override)]
    return ["train", "gemma4_vl", str(settings), str(tmp_path / "data"), "-o", str(tmp_path / "run"), *sizes]


def test_a_dry_run_checks_everything_and_writes_nothing(run: Run, job: list[str], tmp_path: Path) -> None:
    outcome = run(*job, "--dry-run")
    assert outcome.status == 0, outcome.err
    assert "align" in outcome.out
    assert "Dry run: nothing trained." in outcome.out
    assert not (tmp_path / "run").exists()


def test_a_stage_of_an_unknown_node_is_told(run: Run, job: list[str], tmp_path: Path) -> None:
    settings = tmp_path / "training.yaml"
    settings.write_text(settings.read_text().replace("embed_vision", "embed_visoin"), encoding="utf-8")
    outcome = run(*job)
    assert outcome.status == 2
    assert "embed_visoin" in outcome.err
    assert "Did you mean" in outcome.err
    assert not (tmp_path / "run").exists()


def test_missing_data_is_told(run: Run, job: list[str], tmp_path: Path) -> None:
    job[3] = str(tmp_path / "nothing")
    outcome = run(*job)
    assert (outcome.status, outcome.err) == (2, f"{tmp_path / 'nothing'}: no such file or directory.\n")


def test_doctor_is_content_here(run: Run) -> None:
    outcome = run("doctor")
    assert outcome.status == 0, outcome.out
    for name in ("python", "torch", "megatron-core", "transformers", "import composer", "DeepSpeed", "quickstart"):
        assert name in outcome.out


def test_doctor_says_no_when_something_required_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["attrs>=24", "no-such-distribution>=1", "attrs<1", 'nor-this; extra == "te"']
    monkeypatch.setattr(installation, "requires", lambda _: declared)
    outcome = run("doctor")
    assert outcome.status == 1
    assert "missing or wrong: no-such-distribution, attrs" in outcome.out
    assert doctor_command.mark(installation.package_findings()[3]).count("–") == 1  # optional: absent, not wrong
