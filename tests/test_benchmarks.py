"""Benchmarks still run, and what they compare is the same computation; how long it takes is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
