"""Megatron-LM's `pretrain` beside our own schedule: the same losses over the same data."""

import pytest
import torch
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer, get_standard_config_overrides

from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.megatron.schedule import data_parallel, forward_backward
from tests.distributed.graphs import tiny
from tests.interop.batches import write
from tests.interop.tensorboard_losses import losses
from tests.torchrun import torchrun

STEPS, LR, DECAY = 3, 1e-3, 0.01
ARGUMENTS = (
    *("--micro-batch-size", 1, "--global-batch-size", 4, "--seq-length", 28, "--train-iters", STEPS),
    *("--lr", LR, "--min-lr", 0, "--lr-decay-style", "constant", "--weight-decay", DECAY, "--clip-grad", 1),
    *("--dataloader-type", "external", "--eval-iters", 0, "--eval-interval", 100, "--log-interval", 1),
    *("--distributed-backend", "gloo", "--transformer-impl", "local", "--no-gradient-accumulation-fusion"),
    "--calculate-per-token-loss",
)
TENSOR = ("--tensor-model-parallel-size", 2, "--sequence-parallel")
EXPERT = ("--expert-model-parallel-size", 2, "--expert-tensor-parallel-size", 1)
PIPELINE = ("--pipeline-model-parallel-size", 2)
RECOMPUTE = ("--recompute-granularity", "full", "--recompute-method", "uniform", "--recompute-num-layers", 1)
# One process adds up in the same order; two do not.
ALONE, RANKS = 1e-6, 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def own(folder):
    """Losses of our own schedule by variant; makes the data that `pretrain` then reads."""
    return {variant: own_losses(tiny(variant), folder / variant) for variant in ("dense", "experts")}


def own_losses(graph, checkpoint):
    rows = write(graph, checkpoint)
    model = build(graph).train()
    import_weights(model, checkpoint)
    stage = data_parallel(model)
    config = OptimizerConfig(optimizer="adam", lr=LR, weight_decay=DECAY, clip_grad=1.0)
    optimizer = get_megatron_optimizer(config, [stage], config_overrides=get_standard_config_overrides(config))
    for group in optimizer.param_groups:
        group["weight_decay"] = DECAY * group["wd_mult"]  # Megatron-LM leaves this to its scheduler
    found = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        found.append(forward_backward([stage], rows))
        optimizer.step()
    return found


@pytest.mark.parametrize(
    ("variant", "ranks", "layout", "bound"),
    [
        pytest.param("dense", 1, (), ALONE, id="alone"),
        pytest.param("experts", 2, TENSOR + EXPERT, RANKS, id="tp2ep2"),
        pytest.param("dense", 2, (*PIPELINE, "--num-layers-per-virtual-pipeline-stage", 1), RANKS, id="pp2vp2"),
        pytest.param("dense", 2, TENSOR + RECOMPUTE, RANKS, id="tp2-recompute", marks=pytest.mark.slow),
        pytest.param("dense", 2, ("--context-parallel-size", 2), RANKS, id="cp2", marks=pytest.mark.slow),
        pytest.param("dense", 2, ("--use-distributed-optimizer",), RANKS, id="dp2", marks=pytest.mark.slow),
    ],
)
def test_pretrain_finds_our_losses(variant, ranks, layout, bound, own, folder, tmp_path):
    module = ("-m", "tests.interop.pretrain_worker", folder, variant)
    torchrun(ranks, *module, *ARGUMENTS, *layout, "--tensorboard-dir", tmp_path)
    assert losses(tmp_path) == pytest.approx(own[variant], rel=bound)
    assert len(own[variant]) == STEPS
    assert own[variant][-1] < own[variant][0]
