"""One global batch through Megatron-Core's pipeline schedules: loss, and gradients that are final on every rank."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallelConfig, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor, distributed, nn

from adapters.megatron.data_parallel import ComposedDataParallel
from adapters.megatron.module import ComposedModel

MicroBatch = dict[str, Any]
"""Keyword arguments of `ComposedModel.forward`, with `labels` and `loss_mask` [B, S]."""


def data_parallel(model: ComposedModel, **settings: Any) -> ComposedDataParallel:
    """A model whose gradients Megatron-Core sums over data-parallel ranks and divides by the tokens of all.

    Args:
        model: this rank's stage.
        settings: fields of Megatron-Core's DistributedDataParallelConfig.
    """
    # Megatron-Core's other way is a mean of micro-batch means, which weighs a token by how many stand beside it.
    model.config.calculate_per_token_loss = True
    model.config.finalize_model_grads_func = finalize_model_grads
    return ComposedDataParallel(model, DistributedDataParallelConfig(**settings))


def forward_backward(stages: Sequence[ComposedDataParallel], micro_batches: Sequence[MicroBatch]) -> float:
    """Gradients of one global batch, in `main_grad` of every parameter; what was there before is cleared.

    Args:
        stages: from `data_parallel`; one, or this rank's virtual pipeline stages in order.
        micro_batches: of this data-parallel rank; the same on its tensor-parallel ranks and pipeline stages. As many on
            every rank; all of one shape if there are several stages.

    Returns:
        The mean loss over all tokens of the global batch that `loss_mask` keeps, the same on every rank.
    """
    rows, length = micro_batches[0]["labels"].shape
    for stage in stages:
        stage.zero_grad_buffer()
    sums = get_forward_backward_func()(
        forward_step_func=_forward_step,
        data_iterator=[iter(micro_batches) for _ in stages],
        model=list(stages),
        num_microbatches=len(micro_batches),
        seq_length=length,
        micro_batch_size=rows,
        forward_only=False,
    )
    return _mean(sums)


def _forward_step(batches: Iterator[MicroBatch], model: nn.Module) -> tuple[Tensor, Any]:
    output, loss_mask = model(**next(batches))
    return output, partial(_loss, loss_mask)


def _loss(loss_mask: Tensor, losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The sum that is differentiated, the tokens it is over, and both for the log."""
    total, tokens = (losses * loss_mask).sum(), loss_mask.sum()
    return total, tokens.int(), {"sums": torch.stack((total.detach(), tokens.to(total.dtype)))}


def _mean(sums: list[dict[str, Tensor]]) -> float:
    """Only last stages have sums; the others wait for theirs."""
    both = torch.stack([entry["sums"] for entry in sums]).sum(0) if sums else torch.zeros(2)
    both = both.to(torch.cuda.current_device())
    distributed.all_reduce(both, group=parallel_state.get_data_parallel_group(with_context_parallel=True))
    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        pipeline: Any = parallel_state.get_pipeline_model_parallel_group()
        distributed.broadcast(both, parallel_state.get_pipeline_model_parallel_last_rank(), group=pipeline)
    total, tokens = both.tolist()
    return total / max(tokens, 1.0)
