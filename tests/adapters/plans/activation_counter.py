"""How many bytes a forward pass leaves behind for its backward pass, counted on the tensors themselves.

Counted are storages made during the pass that are still there when it is over: whatever holds them, autograd, a
checkpoint or a cache. Not counted: parameters and buffers, the arguments, what earlier passes have left, and the
output. Nothing here knows a plan.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Made(TorchDispatchMode):
    """Remembers every storage that an operation returns, without keeping it alive."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self._known:
                    self._made[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return result

    def alive(self, but: Tensor) -> int:
        """Bytes that are left, without those of one tensor."""
        output = but.untyped_storage()._cdata
        return sum(size for key, (ref, size) in self._made.items() if key != output and not ref.expired())


class Peak(Made):
    """Adds up, at every operation, what is there of what was made."""

    most = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(operation, types, args, kwargs)
        self._made = {key: entry for key, entry in self._made.items() if not entry[0].expired()}
        self.most = max(self.most, sum(size for _, size in self._made.values()))
        return result


class Saved:
    """Remembers every storage that autograd saves; the way most people count, blind to checkpoints and caches."""

    def __init__(self, known: list[Tensor]) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._kept: dict[int, Tensor] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self._known:
            self._kept.setdefault(place, tensor)
        return tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self._kept.values())


def count(model: torch.nn.Module, forward: Callable[[], Tensor], given: list[Tensor]) -> dict[str, int]:
    """Bytes left by one forward pass of a model: `alive`, and `saved` by autograd.

    Args:
        model: whose parameters and buffers are there anyway.
        forward: one pass; returns its output. Runs twice: first, with a backward pass, to fill caches that stay.
        given: its arguments.
    """
    output = forward()
    if output.requires_grad:
        output.sum().backward()
    del output
    known = [*model.parameters(), *model.buffers(), *given]
    saved = Saved(known)
    with Made(known) as made, torch.autograd.graph.saved_tensors_hooks(saved, _same):
        output = forward()
    return {"alive": made.alive(output), "saved": saved.bytes}


def peak(step: Callable[[], None], known: list[Tensor]) -> int:
    """Most bytes at once of a forward and backward pass, without what is known to be there anyway; runs twice."""
    step()
    with Peak(known) as most:
        step()
    return most.most


def _same(tensor: Tensor) -> Tensor:
    return tensor
