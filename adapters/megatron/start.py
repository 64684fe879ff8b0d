"""This rank's pipeline stages with the weights that training starts from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from adapters.huggingface.rank_share import share_of
from adapters.megatron import build, runtime
from adapters.megatron.layout import group_sizes, model_overrides
from adapters.megatron.module import ComposedModel
from adapters.megatron.random_state import seed_random
from adapters.training.settings import Training
from composer import Graph

if TYPE_CHECKING:
    from adapters.huggingface.start import Start


Weights = Path | Mapping[str, Path] | None
"""A whole checkpoint, or directories by node (see `adapters.huggingface.sources`); what has none starts fresh."""


def build_stages(
    graph: Graph, settings: Training, weights: Weights = None, tell: "Callable[[Start], None] | None" = None
) -> list[ComposedModel]:
    """Join the other processes and build this rank's stage, or its virtual stages in order.

    Args:
        graph: a checked graph.
        settings: layout, precision and seed.
        weights: what to start from; without it everything is fresh.
        tell: is told what became of the tensors of nodes' checkpoints, where this rank holds the whole model.

    Raises:
        BuildError: the layout cannot run this model.
        CheckpointError: the checkpoint does not fit the graph.
    """
    layout = settings.layout
    runtime.init(seed=settings.seed, **group_sizes(layout))
    seed_random(settings.seed)
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    places = range(layout.virtual_stages) if layout.virtual_stages > 1 else [None]
    overrides: dict[str, Any] = model_overrides(layout, graph.decoder().config.config.num_layers)
    overrides["transformer_impl"] = settings.transformer_impl
    models = [build(graph, dtype=dtype, vp_stage=place, **overrides) for place in places]
    for model in models:
        start = _fill(model, graph, weights)
        if tell is not None and start is not None and share_of(model).is_whole:
            tell(start)
        model.to(torch.cuda.current_device())
    return models


def _fill(model: ComposedModel, graph: Graph, weights: Weights) -> "Start | None":
    """What nodes started from, if any has a checkpoint of its own."""
    if isinstance(weights, Path):
        from adapters.huggingface.import_weights import import_weights

        import_weights(model, weights)
        return None
    start = fill_nodes(model, graph, weights or {})
    _agree(model)
    return start if weights else None


def fill_nodes(model: ComposedModel, graph: Graph, sources: Mapping[str, Path]) -> "Start":
    """Start nodes from their checkpoints, and draw the towers that have none so that they can learn.

    Raises:
        CheckpointError: a checkpoint does not fit its node.
    """
    from adapters.huggingface.start import start_nodes
    from components.vision.initialisation import initialise_tower

    for name in graph.nodes:
        tower = getattr(model, name, None)
        if tower is not None and graph.component(name).role == "tower" and name not in sources:
            initialise_tower(tower)
    return start_nodes(model, sources)


def _agree(model: ComposedModel) -> None:
    """What several ranks hold starts as the first of them has drawn it; experts have other holders than the rest."""
    groups = model.pg_collection
    for parameter in model.parameters():
        if not getattr(parameter, "allreduce", True):
            holders = [groups.expt_dp]
        elif getattr(parameter, "tensor_model_parallel", False):
            holders = [groups.dp_cp]
        else:
            holders = [groups.dp_cp, groups.tp]
        for group in holders:
            distributed.broadcast(parameter.data, group=group, group_src=0)
