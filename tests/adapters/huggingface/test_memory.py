"""Weights are streamed: neither reading nor writing more than 1 GB needs a second copy of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak-memory counter of Linux")
def test_peak_memory_of_a_large_checkpoint(tmp_path: Path):
    for action in ("export", "import"):
        report = measure(action, tmp_path / "large")
        print(action, report)
        assert report["parameters"] > 10**9
        assert report["peak"] <= 1.2 * report["parameters"], report
    assert sum(path.stat().st_size for path in (tmp_path / "large").glob("*.safetensors")) > 10**9


def measure(action: str, directory: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.adapters.huggingface.measure_memory", action, str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
