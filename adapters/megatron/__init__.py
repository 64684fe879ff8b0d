"""The composed model on Megatron-Core."""

from typing import Any

import torch

from adapters.megatron import cpu, runtime
from components.build_error import BuildError
from composer import Graph
from composer.requires import unmet

cpu.host()

from adapters.megatron.config import ComposedConfig, composed_config  # noqa: E402  (the host comes first)
from adapters.megatron.module import ComposedModel  # noqa: E402

__all__ = ["ComposedConfig", "ComposedModel", "build", "composed_config", "runtime"]


def build(
    graph: Graph,
    *,
    dtype: torch.dtype = torch.float32,
    pre_process: bool | None = None,
    post_process: bool | None = None,
    vp_stage: int | None = None,
    **overrides: Any,
) -> ComposedModel:
    """A module from a graph, with fresh weights, on the current device.

    Args:
        graph: from `composer.load` or the builder; it is checked here.
        dtype: of parameters and activations.
        pre_process, post_process: whether this is the first, the last stage of the pipeline; None: as `init` placed
            this rank.
        vp_stage: which of this rank's virtual stages.
        overrides: fields of Megatron-Core's TransformerConfig.

    Raises:
        SpecError: the graph has problems.
        BuildError: a package the spec requires is too old, an override contradicts the spec, or the layout cannot run
            this model.
    """
    runtime.ensure()
    graph.check()
    if graph.hf is not None and graph.hf.requires and (missing := unmet(graph.hf.requires, graph.name)):
        raise BuildError(missing)
    config = composed_config(graph, dtype=dtype, **overrides)
    first, last = runtime.pipeline_place(vp_stage)
    return ComposedModel(
        config,
        pre_process=first if pre_process is None else pre_process,
        post_process=last if post_process is None else post_process,
        vp_stage=vp_stage,
    )
