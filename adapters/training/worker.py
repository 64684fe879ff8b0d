"""What a rank does when it fails: one rank tells the story, and the others do not bury it under theirs."""

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import active_children
from typing import NoReturn

from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import record
from torch.distributed.rendezvous import rendezvous

from adapters.training.ranks import Ranks

HOLD_S = 20.0
"""How long a rank that lost its peers waits to be ended before it ends itself: the launcher needs to see the cause."""


def run_rank(ranks: Ranks, work: Callable[[], object], for_people: Callable[[BaseException], bool]) -> None:
    """Join the other ranks, do the work, and leave them.

    Does not return if the work fails: the first rank to fail prints its traceback, or the text alone of an error that
    is made for people, and the process ends with status 1, or 2 for such text. A rank to whom a peer was lost in the
    middle of a collective waits to be ended, so that the launcher sees who failed first.

    Args:
        ranks: this process's place.
        work: all that this rank does.
        for_people: whether an error's text alone says what is wrong.
    """
    from adapters.megatron import runtime

    faulthandler.enable()  # a crash in native code shows where it was called from
    store, _, _ = next(iter(rendezvous("env://")))
    # torchrun's agent keeps its store over restarts: the addresses of ranks that are gone must not be found there.
    store = distributed.PrefixStore(f"attempt-{ranks.attempt}", store)

    def guarded() -> None:
        try:
            runtime.join(store)
            work()
        except Exception as error:
            if ranks.size > 1 and lost_peer(error):
                time.sleep(HOLD_S)
            raise

    try:
        record(guarded)()  # leaves the traceback where torchrun looks for it
    except KeyboardInterrupt:
        _leave(130)
    except Exception as error:  # noqa: BLE001 (told, and the process ends)
        people = for_people(error)
        if _first(store):
            text = f"{error}\n" if people else "".join(traceback.format_exception(error))
            sys.stderr.write(f"rank {ranks.rank} of {ranks.size}: {text}")
        _leave(2 if people else 1)
    runtime.destroy()


def lost_peer(error: BaseException) -> bool:
    """Whether an error only says that another rank is gone: NCCL's and the store's have classes, gloo's has a path."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))


def _first(store: distributed.Store) -> bool:
    """Whether no other rank has told of its failure; where that cannot be known, better told twice than never."""
    try:
        return store.add("vlm-composer/failures", 1) == 1
    except RuntimeError:
        return True


def _leave(status: int) -> NoReturn:
    """End now: an orderly end would wait for collectives that nobody will join."""
    for child in active_children():  # a checkpoint that is still being written is not yet one
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
