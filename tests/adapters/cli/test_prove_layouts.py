"""`vlm-composer prove --layout`, from the command line to the table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.prove.layouts import parse_layouts
from adapters.prove.layouts.running import run

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "specs" / "gemma4_vl.yaml"


def prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "adapters.cli", "prove", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_layout_is_proved_and_written_down(tmp_path):
    done = prove(str(SHIPPED), "--layout", "tp2", "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "NOT PROVED" not in done.stdout
    page = (tmp_path / "gemma4_vl.layouts.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| experts", "| dense"))]
    assert [row.split(" | ")[1] for row in rows] == ["tp2 +sp", "tp2"]


def test_ranks_that_lose_document_borders_are_not_proved():
    report = run(SHIPPED, parse_layouts("pp2"), worker="tests.distributed.borderless_worker")
    assert report.exit_code == 1
    for proof in report.proofs:
        assert any("packed documents: the loss differs" in problem for problem in proof.problems)
        assert any("changed and must not" in problem for problem in proof.problems)


@pytest.mark.parametrize(("text", "said"), [("tq2", "'tq2' is no part of a layout"), ("vp2", "there is no pipeline")])
def test_what_is_no_layout_is_told_at_once(text, said):
    done = prove(str(SHIPPED), "--layout", text)
    assert done.returncode == 2
    assert said in done.stderr
