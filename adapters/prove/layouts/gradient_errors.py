"""How far a rank's part of every gradient is from that of one rank alone.

Only sums of squares leave a rank: parts of one tensor on several ranks are put together from them.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from attrs import frozen
from megatron.core.distributed import DistributedDataParallel
from torch import Tensor, distributed

from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.rank_share import Window, share_of
from adapters.huggingface.stored_matrix import Matrix, dimensions
from adapters.huggingface.weight_map import weight_map
from adapters.huggingface.weight_operations import Piece
from adapters.huggingface.weight_plan import Slot
from adapters.megatron.module import ComposedModel
from adapters.parity.report import measured_by


@frozen
class Part:
    """A rank's part of one gradient, by its Hugging Face name.

    `at` tells parts of one tensor apart; `values` of `whole` are in it; `error` and `size` are sums of squares of the
    difference and of the right gradient there.
    """

    name: str
    at: tuple[int, ...]
    values: int
    whole: int
    error: float
    size: float


def gather_gradients(replica: DistributedDataParallel) -> None:
    """With the distributed optimizer, a rank ends with its share of every bucket: complete `main_grad` of all."""
    if not replica.ddp_config.use_distributed_optimizer:
        return
    buffers: Any = [replica.buffers, replica.expert_parallel_buffers]  # a torch module has a method of this name
    for buffer in itertools.chain(*buffers):
        group: Any = buffer.data_parallel_group
        for bucket in buffer.buckets:
            share = bucket.grad_data.chunk(group.size())[group.rank()].clone()
            distributed.all_gather_into_tensor(bucket.grad_data, share, group=group)


def gradient_parts(model: ComposedModel, expected: Mapping[str, Tensor]) -> list[Part]:
    """Of everything that trains on a rank.

    Args:
        model: one stage, with its gradients in `main_grad`.
        expected: the whole gradients that one rank has, by Hugging Face name.
    """
    graph, share = model.config.graph, share_of(model)
    assert graph is not None
    arrived: dict[str, Any] = {
        name: getattr(parameter, "main_grad")  # noqa: B009 (Megatron-Core hangs it on)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    found = []
    for entry in weight_map(graph, rank_tensors(model), share):
        if all(name in arrived for name in entry.composed):
            for name, piece in entry.pieces(arrived).items():
                found.append(_part(name, piece, entry.window(share, piece), expected[name]))
    return found


def _part(name: str, piece: Piece, window: Window, expected: Tensor) -> Part:
    there = Matrix.of(window.whole(piece.shape))
    whole = expected.reshape(there.lines, there.width)
    errors, sizes, starts = [], [], []
    for place, view in Slot(piece, (), name, window).places():
        right = whole[place.first : place.last, place.left : place.right].to(view.device, torch.float64)
        errors.append(float((view.double() - right).square().sum()))
        sizes.append(float(right.square().sum()))
        starts.append((place.first, place.left))
    at = (*min(starts), *dimensions(piece.shape))
    return Part(name, at, math.prod(piece.shape), expected.numel(), sum(errors), sum(sizes))


def relative_errors(parts: list[Part]) -> dict[str, float]:
    """Relative difference by norm of each gradient, from the parts of all ranks; where copies differ, the worst.

    Where the right gradient is exactly zero it is the difference itself; where a bias has none, see
    `adapters.parity.report.measured_by`. Infinite where a part is on no rank.
    """
    by_name: dict[str, dict[tuple[int, ...], Part]] = {}
    for part in parts:
        known = by_name.setdefault(part.name, {})
        known[part.at] = max(part, known.get(part.at, part), key=lambda each: worst(each.error))
    errors = {}
    sizes = {name: sum(part.size for part in found.values()) ** 0.5 for name, found in by_name.items()}
    for name, found in by_name.items():
        error, size = sum(part.error for part in found.values()), sizes[measured_by(name, sizes)] ** 2
        whole = sum(part.values for part in found.values()) == next(iter(found.values())).whole
        errors[name] = float("inf") if not whole else (error / size) ** 0.5 if size else error**0.5
    return errors


def worst(value: float) -> float:
    """For the largest of several: nothing is worse than no number."""
    return math.inf if math.isnan(value) else value
