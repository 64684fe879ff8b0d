"""This rank's stages as Megatron-Core's data-parallel replicas, for one stretch of training and no longer."""

from collections.abc import Sequence
from typing import Any

from megatron.core.distributed import DistributedDataParallel
from torch import nn

from adapters.megatron.module import ComposedModel
from adapters.megatron.schedule import data_parallel
from adapters.training.settings import Training

_LEFT_BEHIND = ("main_grad", "grad_added_to_main_grad", "main_param", "main_param_sharded")


def wrap(models: Sequence[ComposedModel], settings: Training) -> list[DistributedDataParallel]:
    """Gradient buffers (fp32) for what requires gradients now, and nothing else."""
    gather = settings.overlap and settings.distributed_optimizer
    stages = [
        data_parallel(
            model,
            grad_reduce_in_fp32=True,
            use_distributed_optimizer=settings.distributed_optimizer,
            overlap_grad_reduce=settings.overlap,
            overlap_param_gather=gather,
        )
        for model in models
    ]
    # Gradients travel with the last micro-batch only. The schedules read this from the first stage.
    pauses: Any = [stage.no_sync for stage in stages]
    models[0].config.no_sync_func = None if not settings.overlap else pauses if len(pauses) > 1 else pauses[0]
    return stages


def gather_parameters(stages: Sequence[DistributedDataParallel]) -> None:
    """Wait for parameters that are gathered while the model computes: it does not compute now."""
    for stage in stages:
        if stage.use_forward_hook:
            stage.start_param_sync(force_sync=True)


def unwrap(stages: Sequence[DistributedDataParallel]) -> None:
    """Take everything off the parameters that `wrap` and an optimizer have hung on them."""
    gather_parameters(stages)
    for stage in stages:
        if stage.use_forward_hook:
            stage.disable_forward_pre_hook(param_sync=False)
        # Hooks live on autograd's nodes, which these lists alone keep alive.
        stage.grad_accs.clear()
        stage.param_to_bucket_group.clear()
        for parameter in stage.module.parameters():
            _strip(parameter, stage.ddp_config.use_distributed_optimizer)


def _strip(parameter: nn.Parameter, in_buffer: bool) -> None:
    parameter.grad = None
    for name in _LEFT_BEHIND:
        if hasattr(parameter, name):
            delattr(parameter, name)
    if in_buffer and parameter.requires_grad:
        parameter.data = parameter.data.clone()  # else a frozen one would keep the whole buffer alive
