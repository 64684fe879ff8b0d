"""Which device DeepSpeed is told to take."""

import os

import pytest
import torch

pytest.importorskip("deepspeed")
from adapters.deepspeed.start import _name_device


@pytest.mark.parametrize(
    ("launcher", "device", "told"),
    [("3", "cuda:3", "3"), ("3", "cuda:0", "0"), (None, "cuda:2", "2"), ("3", "cpu", "3"), (None, "cpu", "0")],
)
def test_deepspeed_takes_the_device_that_the_rank_has(launcher, device, told, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", launcher or "")
    if launcher is None:
        monkeypatch.delenv("LOCAL_RANK")
    _name_device(torch.device(device))
    assert os.environ["LOCAL_RANK"] == told
