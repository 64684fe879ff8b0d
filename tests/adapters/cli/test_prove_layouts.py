"""`vlm-composer prove --layout`, from the command line to the table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.prove.layouts import LayoutError, parse_layouts
from adapters.prove.layouts.running import run

ROOT = Path(__file__).parents[3]
SPECS = ROOT / "specs"
SHIPPED = SPECS / "gemma4_vl.yaml"


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
    (report,) = run([SHIPPED], parse_layouts("pp2"), worker="tests.distributed.borderless_worker")
    assert report.exit_code == 1
    for proof in report.proofs:
        assert any("packed documents: the loss differs" in problem for problem in proof.problems)
        assert any("changed and must not" in problem for problem in proof.problems)


@pytest.mark.slow
def test_what_goes_wrong_with_one_spec_leaves_the_others_proved(tmp_path):
    """A rank that fails in one case, and a model that cannot be made; cases behind them share one more launch."""
    text = (SPECS / "llava.yaml").read_text().replace("name: llava", "name: broken")
    text = text.replace("configs/llava", f"{SPECS}/configs/llava").replace(
        "heads: $", "q_norm: rms\n            heads: $", 1
    )
    broken = tmp_path / "broken.yaml"
    broken.write_text(text)
    said = []
    reports = run(
        [broken, SPECS / "llava.yaml", SPECS / "mistral3.yaml"],
        parse_layouts("tp2,pp2"),
        progress=said.append,
        worker="tests.distributed.failing_worker",
    )
    assert [report.exit_code for report in reports] == [1, 1, 0]
    assert reports[0].problem is not None
    assert reports[0].problem.startswith("broken/dense, one process alone: CheckpointError")
    tp, pp = reports[1].proofs
    assert tp.green
    assert "on purpose" in pp.problems[0]
    assert [line for line in said if line.startswith("2 ranks")] == [
        "2 ranks: llava/dense, mistral3/dense: tp2, pp2",
        "2 ranks: mistral3/dense: tp2, pp2",
    ]


def test_two_specs_of_one_name_are_told_apart_by_nobody():
    with pytest.raises(LayoutError, match="two specs are called llava"):
        run([SPECS / "llava.yaml", SPECS / "llava.yaml"], parse_layouts("tp2"))


def test_a_checkpoint_is_of_one_spec():
    done = prove("llava", "mistral3", "--hf", "somewhere", "--layout", "tp2")
    assert done.returncode == 2
    assert "--hf gives the sizes of one spec, and here are 2" in done.stderr


@pytest.mark.parametrize(("text", "said"), [("tq2", "'tq2' is no part of a layout"), ("vp2", "there is no pipeline")])
def test_what_is_no_layout_is_told_at_once(text, said):
    done = prove(str(SHIPPED), "--layout", text)
    assert done.returncode == 2
    assert said in done.stderr
