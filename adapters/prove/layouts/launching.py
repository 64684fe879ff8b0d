"""Cases on as many processes of this machine as each has ranks, one launch a number of ranks."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from adapters.prove.layouts.job import Case, is_complete, write_cases
from adapters.prove.layouts.names import LayoutError

START_S, CASE_S = 900, 180
"""How long a launch may take, and how much longer for each case of it."""
LINES_OF_FAILURE = 40
WORKER = "adapters.prove.layouts.worker"


class LayoutRunError(RuntimeError):
    """The processes of a layout did not end well; holds the end of what they said."""


def run_cases(
    folder: Path, cases: Sequence[Case], progress: Callable[[str], None] = lambda _: None, worker: str = WORKER
) -> dict[str, str]:
    """Run every case; a rank that fails takes the others with it, and cases behind its own get a launch of theirs.

    Returns:
        What the ranks said, for each case that failed, by its id.

    Raises:
        LayoutError: there are GPUs, but fewer than ranks.
        LayoutRunError: processes failed though all their cases were done.
    """
    failed: dict[str, str] = {}
    for ranks in sorted({case.named.ranks for case in cases}):
        left = [case for case in cases if case.named.ranks == ranks]
        while left:
            progress(f"{ranks} ranks: {_summary(left)}")
            write_cases(folder, left)
            try:
                launch(folder, ranks, worker, START_S + CASE_S * len(left))
            except LayoutRunError as error:
                done = [is_complete(folder, case) for case in left]
                if all(done):
                    raise
                number = done.index(False)
                failed[left[number].id] = str(error)
                left = left[number + 1 :]
            else:
                break
    return failed


def _summary(cases: Sequence[Case]) -> str:
    """Models and layouts, each once."""
    models = dict.fromkeys(case.variant for case in cases)
    return f"{', '.join(models)}: {', '.join(dict.fromkeys(case.named.name for case in cases))}"


def launch(folder: Path, ranks: int, worker: str = WORKER, timeout_s: float = START_S) -> None:
    """Run a worker on `ranks` processes of this machine: on as many GPUs, or without any on the CPU.

    Raises:
        LayoutError: there are GPUs, but fewer.
        LayoutRunError: a process failed, or they did not end in time.
    """
    if torch.cuda.is_available() and torch.cuda.device_count() < ranks:
        raise LayoutError(f"{ranks} ranks need {ranks} GPUs; here are {torch.cuda.device_count()}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    here = str(Path(__file__).parents[3])
    paths = os.pathsep.join(path for path in (here, os.environ.get("PYTHONPATH", "")) if path)
    try:
        done = subprocess.run(  # noqa: S603 (our own worker)
            [*command, "-m", worker, str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
            timeout=timeout_s,
            check=False,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise LayoutRunError(f"{ranks} ranks were not done after {timeout_s:.0f} s") from error
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        lines = [line for line in said if line.startswith("[rank")] or said  # the launcher's own words come after
        raise LayoutRunError(f"a rank of {ranks} failed:\n" + "\n".join(lines[-LINES_OF_FAILURE:]))
