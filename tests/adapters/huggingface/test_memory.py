"""Weights are streamed: neither reading nor writing more than 1 GB needs a second copy of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak-memory counter of Linux")


@pytest.mark.slow
@linux
def test_peak_memory_of_a_large_checkpoint(tmp_path: Path):
    for action in ("export", "import"):
        [report] = measure(action, tmp_path / "large")
        print(action, report)
        assert report["parameters"] > 10**9
        assert report["peak"] <= 1.2 * report["parameters"], report
    assert sum(path.stat().st_size for path in (tmp_path / "large").glob("*.safetensors")) > 10**9


@pytest.mark.slow
@linux
def test_each_rank_holds_its_own_part_alone(tmp_path: Path):
    """An import in a layout needs no more than what the rank keeps, whatever the checkpoint holds."""
    measure("export", tmp_path / "large", "tp2")
    for layout in ("tp2", "ep2", "pp2"):
        reports = measure("import", tmp_path / "large", layout)
        print(layout, reports)
        assert sorted(report["rank"] for report in reports) == [0, 1]
        for report in reports:
            assert report["parameters"] > 2 * 10**8
            assert report["ratio"] <= 1.2, report


def measure(action: str, directory: Path, *layout: str) -> list[dict[str, float]]:
    """What each rank reports; without a layout, one process."""
    launcher = RANKS if layout else ()
    words = ("-m", "tests.adapters.huggingface.measure_memory", action, str(directory), *layout)
    done = subprocess.run([sys.executable, *launcher, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
