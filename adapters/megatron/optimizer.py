"""Megatron-Core's AdamW over what trains: decay for matrices only, factors on the rates of nodes and parameters."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import (
    MegatronOptimizer,
    OptimizerConfig,
    ParamKey,
    get_megatron_optimizer,
)
from megatron.core.optimizer.clip_grads import clip_grad_by_total_norm_fp32
from megatron.core.optimizer.optimizer_config import ParamPredicate, ParamWithNamePredicate
from torch import nn

from adapters.training.settings import Training
from adapters.training.stages import RatesOf
from composer import Graph


def make_optimizer(
    stages: Sequence[DistributedDataParallel], settings: Training, graph: Graph, rates: RatesOf | None = None
) -> MegatronOptimizer:
    """A fresh optimizer over the parameters that require gradients; every rank calls it.

    Groups carry `lr_mult` and `wd_mult`, the same groups in the same order on every rank. fp32 parameters and moments,
    also where the model is bf16.

    Args:
        stages: this rank's pipeline stages, wrapped for data parallelism as `settings` ask.
        settings: of the run.
        graph: of the model; its nodes are what multipliers of the settings name.
        rates: factors of single parameters on this rank, from a freeze plan.
    """
    own = settings.optimizer
    config = OptimizerConfig(
        optimizer="adam",
        lr=own.lr,
        weight_decay=own.weight_decay,
        adam_beta1=own.beta1,
        adam_beta2=own.beta2,
        adam_eps=own.eps,
        bf16=settings.precision == "bf16",
        params_dtype=torch.bfloat16 if settings.precision == "bf16" else torch.float32,
        use_distributed_optimizer=settings.distributed_optimizer,
        overlap_param_gather=settings.distributed_optimizer and settings.overlap,
        clip_grad=own.clip,
    )
    optimizer = get_megatron_optimizer(config, list(stages), config_overrides=_overrides(settings, graph, rates or {}))
    for group in optimizer.param_groups:
        # Megatron-Core leaves both to its own scheduler; ours is asked before each step.
        group["weight_decay"] = own.weight_decay * group["wd_mult"]
        # Where there is neither Transformer Engine nor Apex this is torch's AdamW, one parameter after the other.
        if "fused" in group:
            group["fused"] = True
    return optimizer


def apply_gradients(optimizer: MegatronOptimizer, lr: float, grad_norm: float) -> None:
    """Clip and take the step, after `prepare_grads`.

    Args:
        optimizer: from `make_optimizer`.
        lr: of this step; each group's factor comes on top.
        grad_norm: of all gradients of the model, on all ranks.
    """
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        parameters = part.get_parameters()
        if part.config.clip_grad > 0.0 and parameters:
            clip_grad_by_total_norm_fp32(parameters, part.config.clip_grad, grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
    optimizer.step_with_ready_grads()


def _overrides(settings: Training, graph: Graph, rates: RatesOf) -> dict[ParamKey, Any]:
    """What differs from the defaults. Megatron-Core makes a group of the parameters with the same differences, and lets
    the ranks agree on all groups and their order.
    """
    vectors = ParamKey(predicate=ParamPredicate("vector", lambda parameter: parameter.ndim <= 1))
    found: dict[ParamKey, Any] = {vectors: {"wd_mult": 0.0}}
    for node in graph.nodes:
        factor = settings.optimizer.lr_multipliers.get(node, 1.0)
        if factor != 1.0:
            inside = ParamWithNamePredicate(f"node {node}", partial(_inside, node))
            found[ParamKey(with_name_predicate=inside)] = {"lr_mult": factor}
    for factor in {own.lr for own in rates.values()} - {1.0}:
        chosen = {parameter for parameter, own in rates.items() if own.lr == factor}
        found[ParamKey(predicate=ParamPredicate(f"lr {factor}", chosen.__contains__))] = {"lr_mult": factor}
    for factor in {own.weight_decay for own in rates.values()} - {1.0}:
        # Vectors have their factor, zero, above.
        chosen = {parameter for parameter, own in rates.items() if own.weight_decay == factor and parameter.ndim > 1}
        found[ParamKey(predicate=ParamPredicate(f"decay {factor}", chosen.__contains__))] = {"wd_mult": factor}
    return found


def _inside(node: str, _parameter: nn.Parameter, name: str) -> bool:
    """Whether a parameter of a wrapped stage belongs to a node."""
    return name.removeprefix("module.").startswith(f"{node}.")
