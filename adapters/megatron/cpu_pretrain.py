"""What `megatron.training` assumes of CUDA beyond Megatron-Core, given by the CPU; the rest is in `cpu`.

Its `pretrain` refuses to start without CUDA, joins model-parallel groups and seeds only where it counts a device, and
warms up kernels that are compiled for GPUs. Run it with `--distributed-backend gloo`.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from megatron.training import arguments, training

from adapters.megatron import cpu

_active: set[str] = set()
# From this generation on Megatron-LM asks for no settings of the GPU's command queues.
_WITHOUT_QUEUES = 10


def host() -> bool:
    """Put the stand-ins in place; idempotent.

    Returns:
        True if this process runs on the CPU host, False where CUDA is present and nothing was changed.
    """
    if not cpu.host():
        return False
    if not _active:
        _active.add("cpu")
        training.initialize_megatron = _on_one_device(training.initialize_megatron)
        training.set_jit_fusion_options = lambda **_: None
        arguments.get_device_arch_version = lambda: _WITHOUT_QUEUES
    return True


def _on_one_device(initialize: Callable[..., Any]) -> Callable[..., Any]:
    """The CPU counts as the one device of its process, for as long as groups and seeds are made."""

    @functools.wraps(initialize)
    def initialized(*args: Any, **kwargs: Any) -> Any:
        counted, chosen = torch.cuda.device_count, torch.cuda.set_device
        torch.cuda.device_count, torch.cuda.set_device = lambda: 1, lambda _device: None
        try:
            return initialize(*args, **kwargs | {"allow_no_cuda": True})
        finally:
            torch.cuda.device_count, torch.cuda.set_device = counted, chosen

    return initialized
