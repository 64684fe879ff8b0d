"""Tables in pipes: as wide as they need, unless somebody says how wide a line is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.parity.report import Measure, ParityReport, VariantReport

ROOT = Path(__file__).resolve().parents[2]
PRINTS = """
from adapters.parity.report import Measure, ParityReport, VariantReport
fine = Measure("logits", 1e-7, 1e-5)
names = ("as configured", "vision_feature_select_strategy: default")
rows = [VariantReport(name, 1, fine, {"full_attention": 0}, fine, fine, (fine,)) for name in names]
ParityReport("llava", "LlavaForConditionalGeneration", tuple(rows), {}).print()
"""


def printed(**environment: str) -> str:
    """What a report prints where stdout is a pipe."""
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    command = [sys.executable, "-c", PRINTS]
    done = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_table_in_a_pipe_has_whole_names() -> None:
    text = printed()
    assert "vision_feature_select_strategy: default" in text
    assert "same bits" in text


def test_columns_are_believed() -> None:
    assert max(map(len, printed(COLUMNS="60").splitlines())) <= 60


def test_a_console_that_is_given_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    fine = Measure("logits", 1e-7, 1e-5)
    row = VariantReport("as configured", 1, fine, {"full_attention": 0}, fine, fine, (fine,))
    ParityReport("llava", "LlavaForConditionalGeneration", (row,), {}).print(Console(quiet=True))
    assert capsys.readouterr().out == ""
