"""Checkpoints of parts that store tensors in ways of their own: one rank's, through a layout, is one rank's again."""

import pytest
import torch

from adapters.huggingface.composed_tensors import rank_tensors
from adapters.megatron import checkpoint
from tests.distributed.checkpoint_cases import Case
from tests.distributed.checkpoint_parts_worker import LAYOUTS, place, save
from tests.distributed.checkpoint_run import Run
from tests.torchrun import torchrun


def tensors(run):
    return {name: tensor.detach().clone() for name, tensor in rank_tensors(run.models[0]).items()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    torch.set_num_threads(1)
    found = {part: tensors(save(Case("one", part, {}), folder, seed=0)) for part in LAYOUTS}
    torchrun(2, "-m", "tests.distributed.checkpoint_parts_worker", folder)
    return folder, found


@pytest.mark.parametrize("case", [case for cases in LAYOUTS.values() for case in cases], ids=lambda case: case.id)
def test_every_tensor_comes_back(case, saved):
    folder, found = saved
    run = Run(Case("one", case.variant, {}), [], seed=2)
    expected, fresh = found[case.variant], tensors(run)
    assert any(not torch.equal(expected[name], fresh[name]) for name in expected)
    checkpoint.load(place(folder, case), run.stages, run.optimizer)
    arrived = tensors(run)
    assert arrived.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(arrived[name], expected[name])] == []
