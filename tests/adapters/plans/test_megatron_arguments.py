"""Megatron-LM reads what a plan says, and the model gets the same configuration as from our engine."""

import dataclasses
import functools
import re
import shlex

import pytest
import torch
from attrs import evolve
from megatron.core.transformer.pipeline_parallel_layer_layout import PipelineParallelLayerLayout
from megatron.training.arguments import parse_args, validate_args

from adapters.huggingface.configured import load_configured
from adapters.megatron import composed_config
from adapters.megatron.command_line import run_settings
from adapters.megatron.layout import group_sizes, model_overrides
from adapters.megatron.provider import megatron_arguments
from adapters.plans.megatron_arguments import execution_arguments
from composer.plans.execution import Execution
from composer.plans.layout import Layout
from tests.adapters.plans.plans import (
    DENSE_CONFIG,
    INTERLEAVED_EXECUTION,
    JOB,
    PIPELINED,
    PIPELINED_EXECUTION,
    plan,
    shipped,
)
from tests.parity.shipped_spec import SPEC

LEFT_TO_THE_USER = ("--train-iters", "3", "--lr", "1e-3", "--min-lr", "0")
SELECTED = evolve(PIPELINED, recompute_modules=("core_attn", "moe_act"))
PLANS = {
    "uneven": plan(),
    "only embeds": plan(Execution(16, evolve(PIPELINED, first_stage_layers=0, last_stage_layers=None))),
    "uneven and interleaved": plan(
        Execution(16, Layout(tp=2, pp=2, virtual_stages=2, ep=2, sequence_parallel=True, first_stage_layers=12))
    ),
    "interleaved": plan(INTERLEAVED_EXECUTION),
    "modules": plan(evolve(PIPELINED_EXECUTION, layout=SELECTED)),
    "etp": plan(Execution(32, Layout(tp=4, ep=2, etp=2, sequence_parallel=True))),
    "cp": plan(Execution(16, Layout(tp=2, cp=2, sequence_parallel=True), 2)),
    "fp32": plan(Execution(8), job=evolve(JOB, gpus=8, precision="fp32", implementation="local")),
}
GROUPS = {
    "tp": "tensor_model_parallel_size",
    "pp": "pipeline_model_parallel_size",
    "cp": "context_parallel_size",
    "ep": "expert_model_parallel_size",
    "etp": "expert_tensor_parallel_size",
}


# Fields in which Megatron-LM's configuration may differ from our engine's, and why that changes nothing of the plan.
OTHERWISE = {
    "tensor_parallel_num_weight_shards": "the tensor-parallel size once more, filled in when arguments are checked",
    "expert_tensor_parallel_num_weight_shards": "likewise",
    "use_cpu_initialization": "our engine asks for it where there is no GPU, as in this test",
    "deallocate_pipeline_outputs": "Megatron-LM's loop frees what it has sent; ours does not",
    "cp_comm_type": "of Transformer Engine's ring, which a composed model does not use",
}


@pytest.fixture
def parsed(monkeypatch):
    """The arguments of rank 0, after Megatron-LM's checks."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    # Of the GPU that the plan is for; Megatron-LM asks before it allows grouped products.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))

    def parse(made, graph):
        monkeypatch.setenv("WORLD_SIZE", str(made.execution.gpus))
        words = [w for a in execution_arguments(made, graph) if not a.left_out for w in a.words]
        monkeypatch.setattr("sys.argv", ["pretrain.py", *megatron_arguments(graph), *LEFT_TO_THE_USER, *words])
        args = parse_args()
        validate_args(args)
        return args

    return parse


def own_config(made, graph):
    """As `adapters.megatron.start.build_stages` asks for it; group sizes as process groups would give them."""
    layout, job = made.execution.layout, made.job
    num_layers = graph.decoder().config.config.num_layers
    sizes = group_sizes(layout)
    groups = {GROUPS[name]: sizes.pop(name) for name in GROUPS}
    if layout.virtual_stages > 1:
        groups |= sizes | {"overlap_p2p_comm": True, "batch_p2p_comm": False}
    dtype = torch.bfloat16 if job.precision == "bf16" else torch.float32
    overrides = model_overrides(layout, num_layers) | {"transformer_impl": job.implementation}
    return composed_config(graph, dtype=dtype, calculate_per_token_loss=True, **groups, **overrides)


@pytest.mark.parametrize("name", PLANS)
def test_the_configuration_is_that_of_our_own_engine(name, parsed):
    made, graph = PLANS[name], shipped()
    args = parsed(made, graph)
    theirs = composed_config(graph, dtype=args.params_dtype, **run_settings(args, graph))
    ours = own_config(made, graph)
    names = [field.name for field in dataclasses.fields(ours) if field.name not in {"graph", *OTHERWISE}]
    pairs = {name: (plain(getattr(theirs, name)), plain(getattr(ours, name))) for name in names}
    assert {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} == {}


def plain(value):
    """Partial functions and pipeline layouts equal others only if they are the same object."""
    if isinstance(value, PipelineParallelLayerLayout):
        return value.layout
    return (value.func, value.args, value.keywords) if isinstance(value, functools.partial) else value


@pytest.mark.parametrize("name", PLANS)
def test_what_is_no_field_of_the_model_is_the_plans_too(name, parsed):
    made = PLANS[name]
    args = parsed(made, shipped())
    execution, layout = made.execution, made.execution.layout
    assert args.data_parallel_size == execution.data_ranks
    assert (args.micro_batch_size, args.global_batch_size, args.seq_length) == (execution.micro_batch, 256, 4096)
    assert {short: getattr(args, long) for short, long in GROUPS.items()} == {
        short: getattr(layout, short) for short in GROUPS
    }
    assert args.virtual_pipeline_model_parallel_size == (layout.virtual_stages if layout.virtual_stages > 1 else None)
    assert args.use_distributed_optimizer == execution.distributed_optimizer
    assert args.calculate_per_token_loss
    assert args.bf16 == (made.job.precision == "bf16")


def test_a_dense_model_gets_no_argument_of_experts(parsed):
    graph = load_configured(SPEC, DENSE_CONFIG)
    made = plan(Execution(16, Layout(tp=4, pp=2, sequence_parallel=True)), graph)
    args = parsed(made, graph)
    assert (args.num_experts, args.moe_grouped_gemm) == (None, False)
    assert not [word for argument in execution_arguments(made, graph) for word in argument.words if "exp" in word]


def test_overlap_is_left_out_where_the_provider_refuses_it_and_said_so():
    arguments = {argument.words[0]: argument for argument in execution_arguments(plan(), shipped())}
    for name in ("--overlap-grad-reduce", "--overlap-param-gather"):
        assert arguments[name].left_out
        assert "a tower has nothing to do (a batch without pixel_values" in arguments[name].why


def test_overlap_is_there_where_towers_always_run(parsed):
    graph = shipped()
    required = {name: evolve(given, optional=False) for name, given in graph.inputs.items()}
    graph = evolve(graph, inputs=required)
    args = parsed(plan(Execution(8, distributed_optimizer=True, overlap=True), graph), graph)
    assert (args.overlap_grad_reduce, args.overlap_param_gather) == (True, True)
    args = parsed(plan(Execution(8, overlap=True), graph), graph)
    assert (args.overlap_grad_reduce, args.overlap_param_gather) == (True, False)


@pytest.mark.parametrize("name", PLANS)
def test_no_word_needs_quotes(name):
    """The file is read by bash as words between blanks, and by Python as a shell would."""
    for argument in execution_arguments(PLANS[name], shipped()):
        assert all(re.fullmatch(r"[\w.|-]+", word, re.ASCII) for word in argument.words)
        assert shlex.split(" ".join(argument.words)) == list(argument.words)
