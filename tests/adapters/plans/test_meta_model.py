"""A rank of a world that is not there leaves this process as it was."""

import pytest
import torch
from megatron.core import parallel_state
from torch import distributed

from adapters.megatron import runtime
from adapters.plans.meta_model import alone, fake_rank, meta_model
from components.build_error import BuildError
from composer.plans.layout import Layout


def process_groups() -> bool:
    return distributed.is_initialized() or parallel_state.model_parallel_is_initialized()


def test_a_rank_knows_its_place_and_leaves_nothing_behind(dense_graph):
    random_state = torch.get_rng_state()
    with fake_rank(1700, 4096, Layout(pp=4, cp=2)):
        assert (distributed.get_rank(), distributed.get_world_size()) == (1700, 4096)
        assert runtime.sizes()["context_parallel_size"] == 2
        model = meta_model(dense_graph, Layout(pp=4, cp=2))
        assert not model.pre_process
        assert not model.post_process
    assert {each.device.type for each in [*model.parameters(), *model.buffers()]} == {"meta"}
    assert not process_groups()
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.zeros(1).device.type == "cpu"


def test_a_layout_that_is_refused_leaves_nothing_behind(experts_graph):
    layout = Layout(tp=2)
    with pytest.raises(BuildError, match="need sequence_parallel=True"), fake_rank(0, 8, layout):
        meta_model(experts_graph, layout)
    assert not process_groups()


def test_a_process_with_groups_is_not_disturbed():
    with runtime.layout():
        message = r"^this process has process groups already"
        with pytest.raises(RuntimeError, match=message), fake_rank(0, 8, Layout()):
            pass
        assert process_groups()


@pytest.mark.slow
def test_work_moves_to_a_process_of_its_own_where_there_are_groups():
    assert not alone(process_groups)
    with runtime.layout():
        assert process_groups()
        assert not alone(process_groups)
