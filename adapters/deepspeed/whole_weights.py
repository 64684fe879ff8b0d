"""Parameters that ZeRO-3 has partitioned, whole again for a moment; nothing to do for the other stages."""

from collections.abc import Iterator
from contextlib import contextmanager

import deepspeed
import torch
from torch import Tensor, nn

from adapters.huggingface.composed_tensors import rank_tensors


def is_partitioned(model: nn.Module) -> bool:
    """Whether ZeRO-3 holds the parameters."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


@contextmanager
def whole_on(model: nn.Module, holds: bool) -> Iterator[None]:
    """Parameters are whole for the length of a block, in the CPU's memory, on the ranks that ask for it; collective.

    Args:
        model: a composed model, partitioned or not.
        holds: whether this rank gets them. They are gathered one by one, so other ranks never hold more than one.
    """
    if not is_partitioned(model):
        yield
        return
    whole: dict[nn.Parameter, Tensor] = {}
    for parameter in model.parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            if holds:
                whole[parameter] = parameter.detach().to("cpu", copy=True)
    placeholders = {parameter: parameter.data for parameter in whole}
    for parameter, tensor in whole.items():
        parameter.data = tensor
    try:
        yield
    finally:
        for parameter, tensor in placeholders.items():
            parameter.data = tensor


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Into a model of the same graph that is not partitioned; collective."""
    held = rank_tensors(target)
    for name, tensor in rank_tensors(source).items():
        with deepspeed.zero.GatheredParameters([tensor], enabled=hasattr(tensor, "ds_id")):
            held[name].copy_(tensor)
