"""Two ranks: the second waits longer for the first's files than for a collective, and hears why there are none."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_ranks_wait_for_slow_files_and_hear_why_there_are_none(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "tests.adapters.deepspeed.waiting_ranks", str(tmp_path)),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    assert (tmp_path / "step-00000001" / "deepspeed.json").is_file()
    assert (tmp_path / "hf" / "model.safetensors").is_file()
    told = [(tmp_path / f"errors.{rank}").read_text() for rank in range(2)]
    assert told[0] == told[1]
    saved, exported = told[0].splitlines()
    assert saved == f"{tmp_path / 'step-00000001'}: is there already: remove it, or resume from it"
    assert exported.startswith(f"{tmp_path / 'hf' / 'config.json'}: rank 0: NotADirectoryError")
