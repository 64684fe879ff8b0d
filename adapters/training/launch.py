"""Start the ranks of a job on this machine, with torchrun's agent, and say which of them ended it."""

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence

from adapters.training.ranks import LaunchError

ENTRY = ("-u", "-m", "adapters.cli")
EXIT_INTERRUPTED = 130


def start_ranks(words: Sequence[str], count: int, max_restarts: int = 0, entry: Sequence[str] = ENTRY) -> int:
    """Run the command line `words` on several ranks of this machine until all are done or one has failed.

    When one fails, the agent ends the others at once (SIGTERM, and SIGKILL to who still lives after 30 s) and starts
    all again, at most `max_restarts` times.

    Args:
        words: what comes after `vlm-composer`; each rank sees the same.
        count: how many ranks.
        max_restarts: how often.
        entry: the interpreter's arguments before `words`.

    Returns:
        The exit status: 0, that of the rank that failed first, or 128 + the signal that killed it.

    Raises:
        LaunchError: there are fewer GPUs than ranks.
    """
    from torch import cuda
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if cuda.is_available() and cuda.device_count() < count:
        raise LaunchError(
            f"{count} ranks, but {cuda.device_count()} GPUs: start at most --nproc {cuda.device_count()}."
        )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it would say is said below
    # Several ranks with all cores each only stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with tempfile.TemporaryDirectory(prefix="vlm-composer-ranks-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=max_restarts,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)(*entry, *words)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            sys.stderr.write(_verdict(rank, count, failure.exitcode) + "\n")
            return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        except SignalException as error:
            return EXIT_INTERRUPTED if error.sigval == signal.SIGINT else 128 + error.sigval
    return 0


def _verdict(rank: int, count: int, exit_code: int) -> str:
    if exit_code > 0:
        return f"Rank {rank} of {count} failed; all ranks were ended."
    name = signal.Signals(-exit_code).name
    hint = " The system kills with SIGKILL when memory runs out." if name == "SIGKILL" else ""
    return f"Rank {rank} of {count} was killed by {name}; all ranks were ended.{hint}"
