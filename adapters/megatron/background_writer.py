"""Megatron-Core's asynchronous writing, without a process that outlives it.

A writer is forked per save: it sees memory as it was at that moment, whatever the optimizer does meanwhile. (Megatron-
Core's other writer is spawned: tensors reach it through shared memory, and on the CPU those are the parameters
themselves, which train on while they are written.) It reports through an open file. Megatron-Core's own way is a queue
in a manager process, started from the main module of the program; that one stays, also after its rank was killed.
"""

import pickle
import queue
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue, AsyncRequest


class WriteResults:
    """What a forked writer wrote, for the process that forked it; as much of a queue as Megatron-Core uses."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)

    def put(self, results: Any) -> None:
        pickle.dump(results, self._file)
        self._file.flush()

    def get_nowait(self) -> Any:
        """The results.

        Raises:
            queue.Empty: the writer ended without any.
        """
        self._file.seek(0)
        try:
            return pickle.load(self._file)  # noqa: S301  (written by our own writer, into a file without a name)
        except EOFError:
            raise queue.Empty from None


@contextmanager
def reporting() -> Iterator[None]:
    """Saves that are prepared inside report through `WriteResults`."""
    module: Any = filesystem_async
    module._results_queue = WriteResults()  # noqa: SLF001  (there is no other way to choose it)
    try:
        yield
    finally:
        module._results_queue = None  # noqa: SLF001


class BackgroundWriter:
    """At most one save under way, of all ranks together."""

    def __init__(self) -> None:
        self._calls = AsyncCallsQueue(persistent=False)

    def start(self, request: AsyncRequest) -> None:
        """Fork this rank's writer."""
        self._calls.schedule_async_request(request)

    def finish(self, *, wait: bool) -> bool:
        """Finalise on all ranks once all writers are done; without `wait` only if they are.

        Returns:
            Whether nothing is under way any more.

        Raises:
            CheckpointException: a rank's writer failed.
        """
        self._calls.maybe_finalize_async_calls(blocking=wait)
        return self._calls.get_num_unfinalized_calls() == 0


