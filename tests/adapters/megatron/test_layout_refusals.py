"""Layouts that cannot train a model are refused when it is built, with the reason."""

import pytest

from adapters.megatron import composed_config
from tests.parity.shipped_spec import tiny_graph

TWO = {"tensor_model_parallel_size": 2}


def test_experts_with_tensor_parallelism_alone(graph):
    with pytest.raises(ValueError, match="experts with tensor_model_parallel_size=2 need sequence_parallel=True: "):
        composed_config(graph, **TWO)


def test_virtual_stages_on_two_ranks_without_overlap(graph):
    sizes = {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2}
    with pytest.raises(ValueError, match="virtual stages on two pipeline ranks need overlap_p2p_comm=True: "):
        composed_config(graph, **sizes)


def test_with_sequence_parallelism_or_without_experts_it_is_fine(graph):
    assert composed_config(graph, sequence_parallel=True, **TWO).sequence_parallel
    assert composed_config(tiny_graph(1), **TWO).tensor_model_parallel_size == 2
