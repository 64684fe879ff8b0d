"""One of several tensor-parallel ranks that do nothing but save, for tests that kill one of them."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from adapters.checkpoint_folder import latest, prune
from adapters.megatron import runtime
from tests.adapters.megatron.checkpoint_saver import Saver
from tests.distributed.graphs import HEADS


def save_forever(place: tuple[int, int], meeting: Path, checkpoints: Path, asynchronous: bool, reports: Any) -> None:
    """Go on from the newest checkpoint, as a group of its own, as a launcher starts ranks.

    Args:
        place: rank, and how many there are.
        meeting: a file that is not there yet, where ranks find each other.
        checkpoints: of all launches; each adds its own.
        asynchronous: save in the background.
        reports: told by each rank which step was complete when its call returned.
    """
    os.setsid()
    torch.set_num_threads(1)
    os.environ |= dict(zip(("RANK", "WORLD_SIZE"), map(str, place), strict=True))
    runtime.join(distributed.FileStore(str(meeting), place[1]))
    saver = Saver(tp=place[1], overrides=HEADS)
    newest = latest(checkpoints)
    step = saver.load(newest) if newest else 0
    while True:
        step += 1
        saver.save(checkpoints, step, asynchronous=asynchronous)
        if place[0] == 0:
            prune(checkpoints, 2)
        if step > asynchronous:  # the first one in the background is complete with the second
            reports.send(step - asynchronous)
        saver.mark(step + 0.5)  # what trains on must not get into what is being written
