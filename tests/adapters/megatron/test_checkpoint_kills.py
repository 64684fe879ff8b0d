"""kill -9 at any moment of a save leaves the last good checkpoint usable."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch

from adapters.checkpoint_folder import complete, latest
from tests.adapters.megatron.checkpoint_saver import Saver, save_forever

KILLS = 6


def killed_while_saving(checkpoints, asynchronous, after):
    """Run the saver, kill it and its writer a moment after a save is complete. Returns the last step it called so."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([save_forever.__module__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=save_forever, args=(checkpoints, asynchronous, theirs))
    process.start()
    theirs.close()
    while (reported := ours.recv()) < 1:
        pass  # the first save in the background has only begun
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    try:
        while True:
            reported = ours.recv()
    except EOFError:
        return reported


@pytest.mark.parametrize("asynchronous", [False, True], ids=["waiting", "in_background"])
def test_the_last_complete_checkpoint_is_usable_after_a_kill(asynchronous, tmp_path):
    moments = random.Random(7)
    saver = Saver()
    interrupted = 0
    for _ in range(KILLS):
        reported = killed_while_saving(tmp_path, asynchronous, moments.uniform(0, 0.5))
        newest = latest(tmp_path)
        step = saver.load(newest)
        assert newest.name == f"step-{step:08d}"
        assert step >= reported
        expected = [step + index / 1024 for index in range(len(saver.tensors()))]
        assert all(torch.all(tensor == value) for tensor, value in zip(saver.tensors(), expected, strict=True))
        assert len(complete(tmp_path)) <= 3
        interrupted += any(path.name.endswith(".incomplete") for path in tmp_path.iterdir())
    assert interrupted
