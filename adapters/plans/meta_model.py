"""The composed model on the meta device, as any rank of any world would build it: no memory, no other process.

Process groups are torch's fake ones: they know their ranks and sizes and send nothing. They take this process's place
in a world, so it must not be part of one already; `alone` moves the work to a process of its own where it is.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from torch import distributed
from torch.overrides import TorchFunctionMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._device import _device_constructors

from adapters.huggingface.start import Start, start_nodes
from adapters.megatron import ComposedModel, build, runtime
from adapters.megatron.layout import group_sizes, model_overrides
from composer.graph import Graph
from composer.plans.layout import Layout


class _OnMeta(TorchFunctionMode):
    """Every new tensor is made on the meta device, whatever device its maker names (Megatron-Core names its own)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _device_constructors():
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


@contextmanager
def fake_rank(rank: int, world_size: int, layout: Layout) -> Iterator[None]:
    """Be one rank of a world that is not there, for the length of a block.

    Raises:
        RuntimeError: this process already belongs to a world.
    """
    if distributed.is_initialized() or parallel_state.model_parallel_is_initialized():
        raise RuntimeError("this process has process groups already: see adapters.plans.meta_model.alone")
    random_state = torch.get_rng_state()
    distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        # Fake groups need no second set over gloo, which would wait for the other ranks.
        runtime.init(**group_sizes(layout), create_gloo_process_groups=False)
        yield
    finally:
        runtime.destroy()
        torch.set_rng_state(random_state)


def meta_model(
    graph: Graph, layout: Layout, *, dtype: torch.dtype = torch.bfloat16, vp_stage: int | None = None
) -> ComposedModel:
    """What this rank builds, or one virtual stage of it, with parameters that have shapes and no values.

    Megatron-Core's local implementation: its parameters have the names that plans use.

    Raises:
        SpecError, BuildError: as `adapters.megatron.build`.
    """
    settings = model_overrides(layout, graph.decoder().config.config.num_layers)
    # Values are not wanted, and there are none to be had on the meta device.
    settings |= {"perform_initialization": False, "use_cpu_initialization": False, "init_model_with_meta_device": True}
    with _OnMeta():
        return build(graph, dtype=dtype, vp_stage=vp_stage, **settings)


def start_on_meta(graph: Graph, sources: Mapping[str, Path], dtype: torch.dtype) -> Start:
    """What would become of the tensors of nodes' checkpoints; only their headers are read.

    Raises:
        CheckpointError: a checkpoint does not fit its node.
    """
    with fake_rank(0, 1, Layout()):
        return start_nodes(meta_model(graph, Layout(), dtype=dtype), sources, write=False)


def alone[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of a module where there are no process groups: here, or in a new process where this has some."""
    if not (distributed.is_initialized() or parallel_state.model_parallel_is_initialized()):
        return function(*args, **kwargs)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args, **kwargs).result()
