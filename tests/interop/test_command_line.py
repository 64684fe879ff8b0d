"""What Megatron-LM's command line says reaches the model, or is refused."""

import pytest
import torch
from megatron.training.arguments import parse_args, validate_args
from megatron.training.training import num_floating_point_operations

from adapters.megatron import composed_config
from adapters.megatron.command_line import run_settings
from adapters.megatron.provider import megatron_arguments
from components.build_error import BuildError
from tests.distributed.graphs import tiny

RUN = ("--micro-batch-size", "1", "--seq-length", "28", "--train-iters", "3", "--lr", "1e-3", "--min-lr", "0")
KERNELS = ("--transformer-impl", "local", "--no-gradient-accumulation-fusion")


@pytest.fixture(params=["dense", "experts"])
def graph(request):
    return tiny(request.param)


@pytest.fixture
def parsed(monkeypatch):
    """Megatron-LM's own parser and checks, for one of two processes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")

    def parse(graph, *words):
        monkeypatch.setattr("sys.argv", ["train.py", *megatron_arguments(graph), *RUN, *KERNELS, *words])
        args = parse_args()
        validate_args(args)
        return args

    return parse


def test_arguments_of_a_graph_are_no_contradiction(graph, parsed):
    settings = run_settings(parsed(graph), graph)
    assert settings["hidden_dropout"] == 0.0
    config = composed_config(graph, **settings)
    assert config.num_layers == graph.decoder().config.config.num_layers


def test_the_run_reaches_the_configuration(graph, parsed):
    layout = ("--tensor-model-parallel-size", "2", "--sequence-parallel", "--calculate-per-token-loss")
    recompute = ("--recompute-granularity", "full", "--recompute-method", "block", "--recompute-num-layers", "2")
    args = parsed(graph, "--bf16", *layout, *recompute, "--hidden-dropout", "0.1")
    config = composed_config(graph, dtype=args.params_dtype, **run_settings(args, graph))
    assert (config.tensor_model_parallel_size, config.sequence_parallel) == (2, True)
    assert (config.bf16, config.params_dtype, config.pipeline_dtype) == (True, torch.bfloat16, torch.bfloat16)
    assert (config.recompute_granularity, config.recompute_method, config.recompute_num_layers) == ("full", "block", 2)
    assert config.calculate_per_token_loss
    assert config.hidden_dropout == 0.1
    assert config.transformer_impl == "local"


def test_uneven_stages_reach_the_configuration(graph, parsed):
    args = parsed(graph, "--pipeline-model-parallel-size", "2", "--decoder-first-pipeline-num-layers", "1")
    settings = run_settings(args, graph)
    assert settings["pipeline_model_parallel_size"] == 2
    assert settings["num_layers_in_first_pipeline_stage"] == 1


def test_every_contradiction_is_named(graph, parsed):
    args = parsed(graph, "--num-layers", "6", "--norm-epsilon", "1e-5", "--qk-layernorm", "--mtp-num-layers", "1")
    with pytest.raises(BuildError) as error:
        run_settings(args, graph)
    wanted = (
        "--num-layers is 6, the spec wants 4; --norm-epsilon is 1e-05, the spec wants 1e-06; "
        "--mtp-num-layers is 1, which no spec can say; --qk-layernorm is True, which no spec can say."
    )
    assert wanted in str(error.value)
    assert "megatron_arguments(graph)" in str(error.value)


def test_experts_that_the_spec_has_not(parsed):
    args = parsed(tiny("dense"), "--num-experts", "4")
    with pytest.raises(BuildError, match="num-experts is 4, the spec wants None"):
        run_settings(args, tiny("dense"))


def test_operations_are_counted_by_the_graph(parsed):
    """Six operations a weight and token, and attention's products over half of the square."""
    graph = tiny("experts")
    args = parsed(graph)
    hidden, heads, kv, width, dense, expert, top = 56, 8, 4, 8, 96, 40, 2
    layer = hidden * width * (2 * heads + 2 * kv) + 3 * hidden * (dense + top * expert)
    weights = 4 * layer + hidden * 256
    tokens, length = 28, 28
    attention = 4 * 6 * heads * width * length
    assert num_floating_point_operations(args, 1) == pytest.approx(tokens * (6 * weights + attention), rel=1e-12)
