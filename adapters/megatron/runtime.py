"""Process groups and model parallelism, from one process on a laptop to a cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed
from torch import distributed

from adapters.megatron import cpu

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits in a collective for one that lives but does not come; one that died is noticed at once."""


def init(*, tp: int = 1, pp: int = 1, cp: int = 1, ep: int = 1, etp: int = 1, seed: int = 0, **groups: Any) -> None:
    """Join the process group and split it into Megatron-Core's model-parallel groups; idempotent for one layout.

    Args:
        tp, pp, cp, ep: tensor-, pipeline-, context- and expert-parallel sizes; the rest is data parallel.
        etp: over how many ranks each expert is split (Megatron-Core's default is `tp`; narrow experts stay whole).
        seed: of parameters and dropout.
        groups: further arguments of Megatron-Core's `initialize_model_parallel`.

    Reads RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun sets them; without them, or where
    WORLD_SIZE is 1 and another is missing, one process alone.
    """
    cpu.host()
    if not distributed.is_initialized():
        join()
    if not parallel_state.model_parallel_is_initialized():
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=tp,
            pipeline_model_parallel_size=pp,
            context_parallel_size=cp,
            expert_model_parallel_size=ep,
            expert_tensor_parallel_size=etp,
            **groups,
        )
    torch.manual_seed(seed)
    model_parallel_cuda_manual_seed(seed)


def join(store: distributed.Store | None = None) -> None:
    """Join the process group that the environment describes, or one of this process alone; no model parallelism yet.

    Args:
        store: where the ranks meet; by default at MASTER_ADDR and MASTER_PORT.
    """
    backend = "gloo" if cpu.host() else "nccl"
    if store is None and _alone():
        distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
        return
    if backend == "nccl":
        torch.cuda.set_device(_device(torch.cuda.device_count()))
    rank, size = (int(os.environ[name]) if store is not None else -1 for name in ("RANK", "WORLD_SIZE"))
    distributed.init_process_group(backend, store=store, timeout=TIMEOUT, rank=rank, world_size=size)


def _device(visible: int) -> int:
    """This rank's device among those it sees: all of its machine, or under `srun --gpus-per-task=1` its own alone."""
    return int(os.environ.get("LOCAL_RANK", "0")) % visible


def _alone() -> bool:
    """Whether no other process is to come, or to be met: some environments say WORLD_SIZE=1 and not where."""
    place = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    return os.environ.get("WORLD_SIZE", "1") == "1" and not all(name in os.environ for name in place)


def ensure() -> None:
    """Initialise one process alone if nothing is initialised yet.

    Raises:
        RuntimeError: this is one of several processes, which must choose a layout with `init` first.
    """
    if parallel_state.model_parallel_is_initialized():
        cpu.host()
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RuntimeError("several processes: call adapters.megatron.init(tp=..., pp=...) before building")
    init()


def sizes() -> dict[str, Any]:
    """The layout as fields of Megatron-Core's TransformerConfig; empty before `init`."""
    if not parallel_state.model_parallel_is_initialized():
        return {}
    return {
        "tensor_model_parallel_size": parallel_state.get_tensor_model_parallel_world_size(),
        "pipeline_model_parallel_size": parallel_state.get_pipeline_model_parallel_world_size(),
        "virtual_pipeline_model_parallel_size": parallel_state.get_virtual_pipeline_model_parallel_world_size(),
        "context_parallel_size": parallel_state.get_context_parallel_world_size(),
        "expert_model_parallel_size": parallel_state.get_expert_model_parallel_world_size(),
        "expert_tensor_parallel_size": parallel_state.get_expert_tensor_parallel_world_size(),
    }


def pipeline_place(vp_stage: int | None = None) -> tuple[bool, bool]:
    """Whether this rank, or a virtual stage of it, is the first of the pipeline, and whether it is the last."""
    stage = {"ignore_virtual": vp_stage is None, "vp_stage": vp_stage}
    return parallel_state.is_pipeline_first_stage(**stage), parallel_state.is_pipeline_last_stage(**stage)


def leave() -> None:
    """Give up the layout, its groups and their threads; the processes stay joined, and `init` may choose another."""
    known: Any = distributed.distributed_c10d._world.pg_map  # noqa: SLF001 (torch names no groups otherwise)
    parallel_state.destroy_model_parallel()
    for group in list(known):
        if group is not distributed.group.WORLD:
            distributed.destroy_process_group(group)


def destroy() -> None:
    """Leave all groups."""
    parallel_state.destroy_model_parallel()
    if distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def layout(**sizes: Any) -> Iterator[None]:
    """Model parallelism for the length of a block; see `init`."""
    init(**sizes)
    try:
        yield
    finally:
        destroy()
