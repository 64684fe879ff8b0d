"""What the provider and the forward step refuse, in words."""

from argparse import Namespace
from types import SimpleNamespace

import attrs
import pytest
import torch
from megatron.core import rerun_state_machine
from megatron.core.timers import Timers
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.training import global_vars

from adapters.megatron import ComposedConfig, build, composed_config, provider
from adapters.megatron.arguments import ArgumentError
from adapters.training.collator import Batch
from components.build_error import BuildError
from tests.distributed.graphs import tiny

IDS = torch.full((1, 28), 5)


@pytest.fixture(scope="module")
def graph():
    return tiny("dense")


@pytest.fixture
def megatron_lm():
    """Megatron-LM's global state, as far as a forward step reads it."""
    args = Namespace(
        micro_batch_size=1, seq_length=28, pipeline_model_parallel_size=1, check_for_nan_in_loss_and_grad=True
    )
    global_vars.set_args(args)
    global_vars._GLOBAL_TIMERS = Timers(0, "minmax")
    rerun_state_machine.initialize_rerun_state_machine(mode=rerun_state_machine.RerunMode.DISABLED)
    yield args
    rerun_state_machine.destroy_rerun_state_machine()
    global_vars.unset_global_variables()


def test_a_configuration_of_a_composed_model_is_taken_as_it_is(graph):
    build(graph)  # joins the groups of one process
    config = composed_config(graph, recompute_granularity="full", recompute_method="uniform", recompute_num_layers=1)
    assert isinstance(config, ComposedConfig)
    assert provider.model_provider(graph)(config=config).config is config


def test_a_configuration_without_a_graph_is_refused(graph):
    config = TransformerConfig(num_layers=1, hidden_size=8, num_attention_heads=1)
    with pytest.raises(BuildError, match="a TransformerConfig was given, which has no graph"):
        provider.model_provider(graph)(config=config)


def test_other_process_groups_are_refused(graph):
    build(graph)
    with pytest.raises(BuildError, match="process groups other than those of parallel_state"):
        provider.model_provider(graph)(pg_collection=SimpleNamespace(tp=object()))


@pytest.mark.parametrize(
    ("optional", "tp", "cp", "told"),
    [
        (True, 1, 1, r"\(a batch without pixel_values, image_position_ids\)"),
        (False, 2, 1, r"\(2 ranks that share a batch's items, of which there may be fewer\)"),
        (False, 1, 2, r"\(2 ranks that share"),
        (True, 2, 2, r"\(a batch without .*; 4 ranks that share"),
    ],
)
def test_gradients_of_towers_that_may_be_idle_are_not_overlapped(graph, megatron_lm, optional, tp, cp, told):
    vars(megatron_lm).update(overlap_grad_reduce=True, tensor_model_parallel_size=tp, context_parallel_size=cp)
    with pytest.raises(BuildError, match=f"asserts when a tower has nothing to do {told}"):
        provider.model_provider(with_pictures(graph, optional))()


def test_gradients_of_towers_that_always_run_are_overlapped(graph, megatron_lm):
    vars(megatron_lm).update(overlap_grad_reduce=True, tensor_model_parallel_size=1, context_parallel_size=1)
    provider._check_overlap(megatron_lm, with_pictures(graph, optional=False))


def with_pictures(graph, optional):
    return attrs.evolve(
        graph, inputs={name: attrs.evolve(each, optional=optional) for name, each in graph.inputs.items()}
    )


def test_batches_of_our_own_loop_are_taken(graph, megatron_lm):
    ones = torch.ones(1, 28)
    batch = Batch(IDS, IDS, ones, ones.bool(), None, None, torch.tensor([0]))
    losses, reduce = provider.forward_step(iter([batch]), build(graph))
    total, tokens, report = reduce(losses)
    assert tokens == 28
    assert report["lm loss"].tolist() == pytest.approx([total.item(), 28.0])


def test_pipeline_stages_need_one_shape(graph, megatron_lm):
    megatron_lm.pipeline_model_parallel_size, megatron_lm.seq_length = 2, 32
    batch = {"input_ids": IDS, "labels": IDS, "loss_mask": torch.ones(1, 28)}
    with pytest.raises(ArgumentError, match=r"a micro-batch is \[1, 28\].*\[1, 32\]: pad to that"):
        provider.forward_step(iter([batch]), build(graph))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(graph, megatron_lm, broken):
    batch = {"input_ids": IDS, "labels": IDS, "loss_mask": torch.ones(1, 28)}
    losses, reduce = provider.forward_step(iter([batch]), build(graph))
    with pytest.raises(RuntimeError, match="loss of a micro-batch that is not finite"):
        reduce(losses * broken)
