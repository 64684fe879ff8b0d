"""What goes wrong on one rank while saving, said on all of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException

from adapters.huggingface.checkpoint_error import CheckpointError


@contextmanager
def told(what: str | Path) -> Iterator[None]:
    """Writing errors as ours; torch's are no `Exception`."""
    try:
        yield
    except CheckpointException as error:
        reasons = [str(wrapped[0]) for wrapped in error.failures.values()] or ["another rank could not write"]
        raise CheckpointError(what, [f"not saved: {reason}" for reason in reasons]) from error


def on_first_rank(folder: Path, work: Callable[[], Any], group: Any = None) -> Any:
    """Do something on one rank while the others wait; what it returns, or why it failed, is known to all of them.

    Args:
        folder: what an error is about.
        work: what rank 0 does.
        group: all ranks, with a timeout as long as the work may take; None: the default group.

    Raises:
        CheckpointError: the work failed, on every rank.
    """
    outcome: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            outcome[0] = work()
        except CheckpointError as error:
            outcome[1] = error.problems
        except (OSError, TypeError) as error:
            outcome[1] = [f"not saved: {error}"]
    distributed.broadcast_object_list(outcome, src=0, group=group)
    if outcome[1] is not None:
        raise CheckpointError(folder, outcome[1])
    return outcome[0]
