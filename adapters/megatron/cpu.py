"""What Megatron-Core assumes of CUDA, given by the CPU, so that the same model and training code runs over gloo.

`host()` is the one switch. It does nothing where CUDA is present; nothing else in this project stands in for CUDA. Two
places ask where a tensor is: checks that would stop a GPU's host are made on the CPU only (`arguments.py`), and grouped
heads are repeated on CUDA, where its kernels need it (`core_attention.py`). What stands in for what: streams and events
do nothing (the CPU runs in order), the CUDA generator is the CPU generator, `cuda` as a device name means `cpu`.
"""

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.utils._device

_FACTORIES = ("zeros", "ones", "empty", "full", "tensor", "arange", "rand", "randn", "randint", "eye", "empty_strided")
_active: set[str] = set()


class _Stream:
    """A CUDA stream on a machine that runs in order."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.cuda_stream = 0

    def wait_stream(self, _stream: Any) -> None: ...
    def wait_event(self, _event: Any) -> None: ...
    def synchronize(self) -> None: ...
    def query(self) -> bool:
        return True

    def record_event(self, event: Any = None) -> Any:
        return event or _Event()


class _Event:
    """A CUDA event that has always happened."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def record(self, _stream: Any = None) -> None: ...
    def wait(self, _stream: Any = None) -> None: ...
    def synchronize(self) -> None: ...
    def query(self) -> bool:
        return True


def host() -> bool:
    """Put the stand-ins in place; idempotent.

    Returns:
        True if this process runs on the CPU host, False where CUDA is present and nothing was changed.
    """
    if torch.cuda.is_available():
        return False
    if not _active:
        _streams()
        _generators()
        _devices()
        _collectives()
        _tensor_types()
        _active.add("cpu")
    return True


def _streams() -> None:
    stream = _Stream()
    torch.cuda.Stream = _Stream  # type: ignore[misc,assignment]
    torch.cuda.Event = _Event  # type: ignore[misc,assignment]
    torch.cuda.current_stream = lambda *_, **__: stream  # type: ignore[assignment]
    torch.cuda.default_stream = lambda *_, **__: stream  # type: ignore[assignment]
    torch.cuda.stream = lambda *_, **__: contextlib.nullcontext()  # type: ignore[assignment,misc]
    torch.cuda.synchronize = lambda *_, **__: None  # type: ignore[assignment]


def _generators() -> None:
    def get(*_: Any, **__: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def put(state: torch.Tensor, *_: Any, **__: Any) -> None:
        torch.set_rng_state(state)

    def seed(value: int) -> None:
        torch.default_generator.manual_seed(value)

    for module in (torch.cuda, torch.cuda.random):
        module.get_rng_state = get  # type: ignore[assignment]
        module.set_rng_state = put  # type: ignore[assignment]
        module.manual_seed = seed  # type: ignore[assignment]
    from megatron.core.tensor_parallel import random

    random._set_cuda_rng_state = put


def _devices() -> None:
    cpu = torch.device("cpu")
    torch.cuda.current_device = lambda: cpu  # type: ignore[assignment,return-value]
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
    # `with torch.device(...)` (transformers builds on meta with it) remembers, on first use, which functions make
    # tensors: it must see the originals, because those are what the stand-ins call.
    torch.utils._device._device_constructors()
    for name in _FACTORIES:
        setattr(torch, name, _on_cpu(getattr(torch, name)))


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(factory)
    def made(*args: Any, **kwargs: Any) -> torch.Tensor:
        device = kwargs.get("device")
        if device is not None and str(device).startswith("cuda"):
            kwargs["device"] = "cpu"
        return factory(*args, **kwargs)

    return made


def _collectives() -> None:
    """Gloo takes split sizes as lists; the expert dispatcher leaves them as tensors where there is no device copy."""
    from megatron.core.tensor_parallel import mappings

    exchange = mappings._AllToAll.forward

    def forward(ctx: Any, group: Any, tensor: torch.Tensor, out_splits: Any, in_splits: Any, *rest: Any) -> Any:
        return exchange(ctx, group, tensor, _as_list(out_splits), _as_list(in_splits), *rest)

    mappings._AllToAll.forward = staticmethod(forward)  # type: ignore[assignment]


def _as_list(splits: Any) -> Any:
    return splits.tolist() if torch.is_tensor(splits) else splits


def _tensor_types() -> None:
    """Optimizers of Megatron-Core ask a tensor for its type by name, and know CUDA's names only.

    Only Megatron-Core is told so: others that ask (torch's own wrappers, DeepSpeed) tell devices apart by it.
    """
    type_of = torch.Tensor.type

    def named(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found = type_of(self, *args, **kwargs)
        if args or kwargs or not sys._getframe(1).f_globals.get("__name__", "").startswith("megatron."):
            return found
        return found.replace("torch.", "torch.cuda.", 1)

    torch.Tensor.type = named  # type: ignore[assignment,method-assign]
