"""kill -9 of one of two ranks in a save, then the end of the other, leaves the last good checkpoint usable."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch

from adapters.checkpoint_folder import complete, latest
from tests.adapters.megatron.checkpoint_saver import Saver
from tests.distributed.graphs import HEADS
from tests.distributed.rank_saver import save_forever

KILLS = 5
RANKS = 2
NOTICED_S = 0.3  # at most, until the launcher ends the others; torchrun looks every tenth of a second


def killed_while_saving(folder, asynchronous, moments):
    """Run the ranks and kill one a moment after the first save. Returns it, and the last step that any rank reported.

    Its writer lives on, if it has one. The other rank may do what it likes until it is ended with its own.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([save_forever.__module__])
    meeting = folder / f"meeting-{moments.random()}"
    ours, theirs = zip(*(context.Pipe(duplex=False) for _ in range(RANKS)), strict=True)
    ranks = [
        context.Process(target=save_forever, args=((rank, RANKS), meeting, folder / "checkpoints", asynchronous, pipe))
        for rank, pipe in enumerate(theirs)
    ]
    for process in ranks:
        process.start()
    for pipe in theirs:
        pipe.close()
    reported = max(pipe.recv() for pipe in ours)
    time.sleep(moments.uniform(0, 0.5))
    victim = moments.randrange(RANKS)
    os.kill(ranks[victim].pid, signal.SIGKILL)
    time.sleep(moments.uniform(0, NOTICED_S))
    for rank, process in enumerate(ranks):
        if rank != victim and process.is_alive():
            os.killpg(process.pid, signal.SIGTERM)
        process.join()
    assert ranks[victim].exitcode == -signal.SIGKILL
    return victim, max(reported, *(last_of(pipe, reported) for pipe in ours))


def last_of(pipe, reported):
    """What was reported last; ends when no process is left that could report."""
    try:
        while True:
            reported = pipe.recv()
    except EOFError:
        return reported


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True], ids=["waiting", "in_background"])
def test_the_last_complete_checkpoint_is_usable_after_a_rank_was_killed(asynchronous, tmp_path):
    moments = random.Random(11)
    saver, checkpoints = Saver(overrides=HEADS), tmp_path / "checkpoints"
    interrupted, victims = 0, set()
    for _ in range(KILLS):
        victim, reported = killed_while_saving(tmp_path, asynchronous, moments)
        newest = latest(checkpoints)
        step = saver.load(newest)
        assert newest.name == f"step-{step:08d}"
        assert step >= reported
        expected = [step + index / 1024 for index in range(len(saver.tensors()))]
        assert all(torch.all(tensor == value) for tensor, value in zip(saver.tensors(), expected, strict=True))
        assert len(complete(checkpoints)) <= 3
        interrupted += any(path.name.endswith(".incomplete") for path in checkpoints.iterdir())
        victims.add(victim)
    assert interrupted
    assert len(victims) == RANKS
