"""The composed model on Megatron-Core."""

from typing import Any

import torch

from adapters.megatron import cpu, runtime
from composer import Graph

cpu.host()

from adapters.megatron.config import ComposedConfig, composed_config  # noqa: E402  (the host comes first)
from adapters.megatron.module import ComposedModel  # noqa: E402

__all__ = ["ComposedConfig", "ComposedModel", "build", "composed_config", "runtime"]


def build(
    graph: Graph,
    *,
    dtype: torch.dtype = torch.float32,
    pre_process: bool = True,
    post_process: bool = True,
    vp_stage: int | None = None,
    **overrides: Any,
) -> ComposedModel:
    """A module from a graph, with fresh weights, on the current device.

    Args:
        graph: from `composer.load` or the builder; it is checked here.
        dtype: of parameters and activations.
        pre_process, post_process, vp_stage: place in the pipeline.
        overrides: fields of Megatron-Core's TransformerConfig.

    Raises:
        SpecError: the graph has problems.
        ValueError: an override contradicts the spec, or the layout cannot run this model.
    """
    runtime.ensure()
    graph.check()
    config = composed_config(graph, dtype=dtype, **overrides)
    return ComposedModel(config, pre_process, post_process, vp_stage)
