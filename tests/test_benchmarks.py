"""Benchmarks still run, and what they compare is the same computation; how long it takes is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_composed_and_by_hand_are_equal_to_the_bit():
    command = [sys.executable, "benchmarks/composition.py", "--pairs", "30", "--warmup", "0", "--hidden", "64"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal bits" in done.stdout


def test_single_operations_run(tmp_path: Path):
    out = tmp_path / "operations.json"
    command = [sys.executable, "benchmarks/gpu_operations.py", "--tiny", "--out", str(out)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) >= 18
    assert not [row for row in rows if "error" in row]


@pytest.mark.slow
def test_planned_and_measured_memory_of_tiny_models(tmp_path):
    """Without a card there is no peak; every row still builds, plans and takes its steps."""
    rows = ["local, full recomputation, 2 samples", "TE, projector alone", "local, no head"]
    out = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.gpu_memory", "--tiny", "--out", str(out), "--rows", *rows]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {row["name"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}
    assert [*found] == rows
    for row in found.values():
        assert "error" not in row, row["error"]
        parts = row["planned"]["parts"]
        assert row["planned"]["peak"] == sum(parts.values())
        assert parts["weights"] > 0
        assert parts["activations"] > 0
    # What the plan holds in bf16 is what was built.
    everything = found["TE, projector alone"]
    assert everything["planned"]["parts"]["weights"] == 2 * everything["measured"]["parameters"]
