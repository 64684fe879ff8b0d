"""Benchmarks still run, and what they compare is the same computation; how long it takes is not tested."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_composed_and_by_hand_are_equal_to_the_bit():
    command = [sys.executable, "benchmarks/composition.py", "--pairs", "30", "--warmup", "0", "--hidden", "64"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal bits" in done.stdout
