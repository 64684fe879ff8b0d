"""Saving and loading in one process: every kind of optimizer, and what is refused."""

import json
import multiprocessing
import os
import time
from unittest import mock

import pytest
import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor

from adapters.checkpoint_folder import complete, name_of
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import build, checkpoint, runtime
from adapters.megatron.optimizer import make_optimizer
from adapters.megatron.schedule import data_parallel
from adapters.training.settings import Stage, Training
from adapters.training.stages import freeze_all_but
from tests.adapters.megatron.checkpoint_saver import Saver
from tests.parity.shipped_spec import tiny_graph, tiny_of

KINDS = {
    "plain": {},
    "distributed": {"distributed_optimizer": True},
    "fp32_copies": {"precision": "bf16"},
    "distributed_fp32_copies": {"precision": "bf16", "distributed_optimizer": True},
}


def state_of(saver):
    """Parameters, and all tensors of the optimizer: moments, steps, fp32 copies."""
    found = [parameter.detach().clone() for parameter in saver.stages[0].parameters()]
    for part in saver.optimizer.chained_optimizers:
        for group in part.optimizer.param_groups:
            for parameter in group["params"]:
                found += [
                    parameter.detach().clone(),
                    *(value.clone() for value in part.optimizer.state[parameter].values()),
                ]
    return found


def one_step(saver):
    """A step that needs the moments, the count of steps and fp32 copies to be right."""
    saver.optimizer.zero_grad()
    for index, parameter in enumerate(saver.stages[0].parameters()):
        parameter.main_grad.fill_(1e-3 * (1 + index % 7))
    saver.optimizer.step()


@pytest.mark.parametrize("variant", [0, 1], ids=["experts", "dense"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_as_if_nothing_had_happened(kind, variant, tmp_path):
    saver, other = Saver(variant, **KINDS[kind]), Saver(variant, **KINDS[kind])
    for _ in range(3):
        one_step(saver)
    checkpoint.save(tmp_path / name_of(4), saver.stages, saver.optimizer, {"step": 4, "position": [1, 2]})
    assert checkpoint.load(tmp_path / name_of(4), other.stages, other.optimizer) == {"step": 4, "position": [1, 2]}
    for _ in range(2):
        assert all(map(torch.equal, state_of(saver), state_of(other)))
        one_step(saver)
        one_step(other)


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_step(kind, tmp_path):
    saver = Saver(1, **KINDS[kind])
    for part in saver.optimizer.chained_optimizers:
        part.optimizer.state.clear()
    saver.save(tmp_path, 0)
    other = Saver(1, **KINDS[kind])
    for part in other.optimizer.chained_optimizers:
        part.optimizer.state.clear()
    assert other.load(tmp_path / name_of(0)) == 0
    for each in (saver, other):
        one_step(each)
    assert all(map(torch.equal, state_of(saver), state_of(other)))


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "distributed"])
def test_a_stage_that_trains_little(shared, tmp_path):
    """Experts are frozen: Megatron-Core's optimizer for them is empty."""
    graph = tiny_graph(0)
    stage = Stage("projector", 9, ("embed_vision",))

    def made():
        model = build(graph).train()
        freeze_all_but(model, graph, stage)
        stages = [data_parallel(model, use_distributed_optimizer=shared)]
        return stages, make_optimizer(stages, Training((stage,), distributed_optimizer=shared), graph)

    stages, optimizer = made()
    optimizer.step()
    checkpoint.save(tmp_path / name_of(1), stages, optimizer, {})
    others, other = made()
    checkpoint.load(tmp_path / name_of(1), others, other)
    assert all(map(torch.equal, stages[0].parameters(), others[0].parameters()))


def test_weights_alone_leave_random_states_as_they_are(tmp_path):
    saver = Saver()
    saver.save(tmp_path, 1)
    other = build(saver.graph)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    checkpoint.load(tmp_path / name_of(1), [other], None)
    assert torch.equal(torch.rand(3), expected)
    assert all(map(torch.equal, saver.stages[0].parameters(), other.parameters()))


def test_another_layout_draws_numbers_that_follow_from_the_checkpoint(tmp_path):
    saver = Saver()
    saver.save(tmp_path, 1)
    record = tmp_path / name_of(1) / checkpoint.RECORD
    record.write_text(json.dumps(json.loads(record.read_text()) | {"layout": {"ranks": 2}}))
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        saver.load(tmp_path / name_of(1))
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_another_spec_is_refused_by_its_sizes(tmp_path):
    saver = Saver()
    saver.save(tmp_path, 1)
    other = build(tiny_graph(1, ("hf.text_config.intermediate_size=64",)))
    with pytest.raises(CheckpointError, match=r"dense\.intermediate_size: the checkpoint has 96, the model 64"):
        checkpoint.load(tmp_path / name_of(1), [other], None)


def test_another_kind_of_optimizer_is_refused(tmp_path):
    saver = Saver(1)
    saver.save(tmp_path, 1)
    other = Saver(1, distributed_optimizer=True)
    with pytest.raises(CheckpointError, match="the optimizer was plain, it is distributed now"):
        other.load(tmp_path / name_of(1))


def test_missing_and_surplus_tensors_are_refused_before_anything_is_loaded(tmp_path):
    saver = Saver()
    other = build(saver.graph)
    other.vision_tower.new = torch.nn.Parameter(torch.zeros(3))
    del other.vision_tower.encoder
    saver.save(tmp_path, 1)
    before = [parameter.detach().clone() for parameter in other.parameters()]
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / name_of(1), [other], None)
    assert "missing: model.vision_tower.new [3] float32" in caught.value.problems
    assert "surplus: model.vision_tower.encoder.layers.0.input_layernorm.weight [40] float32" in caught.value.problems
    assert all(map(torch.equal, before, other.parameters()))


def test_another_precision_is_refused(tmp_path):
    saver = Saver()
    saver.save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"expected \[56\] bfloat16, found \[56\] float32"):
        checkpoint.load(tmp_path / name_of(1), [build(saver.graph, dtype=torch.bfloat16)], None)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    saver = Saver()
    with pytest.raises(CheckpointError, match=r"no checkpoint\.json"):
        checkpoint.load(tmp_path, saver.stages, None)
    saver.save(tmp_path, 1)
    with pytest.raises(CheckpointError, match="is there already"):
        saver.save(tmp_path, 1)


def test_progress_that_json_cannot_hold_is_refused(tmp_path):
    saver = Saver()
    with pytest.raises(CheckpointError, match="not JSON serializable"):
        checkpoint.save(tmp_path / name_of(1), saver.stages, saver.optimizer, {"step": torch.zeros(1)})
    assert complete(tmp_path) == []


def test_a_writer_that_dies_leaves_no_checkpoint_and_is_told(tmp_path):
    saver = Saver()
    saver.save(tmp_path, 1)
    sync = os.fsync

    def slow(descriptor):
        if multiprocessing.parent_process() is None:
            sync(descriptor)
        else:
            time.sleep(60)

    with mock.patch("os.fsync", slow):
        saver.save(tmp_path, 2, asynchronous=True)
    assert not checkpoint.finish_save(wait=False)
    for writer in multiprocessing.active_children():
        writer.kill()
    with pytest.raises(CheckpointError, match="not saved"):
        checkpoint.finish_save()
    assert complete(tmp_path) == [tmp_path / name_of(1)]
    saver.save(tmp_path, 2, asynchronous=True)
    assert checkpoint.finish_save()
    assert sorted(path.name for path in tmp_path.iterdir()) == [name_of(1), name_of(2)]


def test_experts_of_every_set_are_stored_as_those_of_the_first():
    with runtime.layout():
        model = build(tiny_of("ernie4_5_vl_moe"))
        stored = model.sharded_state_dict(metadata={"non_homogeneous_layers": True})
    shapes = {tensor.key: tensor.global_shape for tensor in stored.values() if isinstance(tensor, ShardedTensor)}
    first = {name for name in shapes if ".mlp.experts." in name}
    others = {name.replace("expert_sets.vision_moe", "experts") for name in shapes if ".mlp.expert_sets." in name}
    assert first
    assert others == first
