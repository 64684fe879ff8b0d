"""This rank's pipeline stages with the weights that training starts from."""

from pathlib import Path

import torch
from megatron.core import parallel_state
from torch import distributed

from adapters.megatron import build, runtime
from adapters.megatron.layout import group_sizes, model_overrides
from adapters.megatron.module import ComposedModel
from adapters.training.settings import Training
from composer import Graph

SEEDS_OF_A_STAGE = 100  # as far apart as Megatron-LM's


def build_stages(graph: Graph, settings: Training, weights: Path | None = None) -> list[ComposedModel]:
    """Join the other processes and build this rank's stage, or its virtual stages in order.

    Args:
        graph: a checked graph.
        settings: layout, precision and seed.
        weights: a Hugging Face checkpoint to start from; without one everything is fresh.

    Raises:
        BuildError: the layout cannot run this model.
        CheckpointError: the checkpoint does not fit the graph.
    """
    layout = settings.layout
    runtime.init(seed=settings.seed, **group_sizes(layout))
    # Layers of two stages must not start the same; tensor-parallel copies must, and so draw the same numbers.
    torch.manual_seed(settings.seed + SEEDS_OF_A_STAGE * parallel_state.get_pipeline_model_parallel_rank())
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    places = range(layout.virtual_stages) if layout.virtual_stages > 1 else [None]
    models = [build(graph, dtype=dtype, vp_stage=place, **model_overrides(layout)) for place in places]
    for model in models:
        _fill(model, graph, weights)
        model.to(torch.cuda.current_device())
    return models


def _fill(model: ComposedModel, graph: Graph, weights: Path | None) -> None:
    if weights is not None:
        from adapters.huggingface.import_weights import import_weights

        import_weights(model, weights)
        return
    from components.vision.initialisation import initialise_tower

    for name in graph.nodes:
        tower = getattr(model, name, None)
        if tower is not None and graph.component(name).role == "tower":
            initialise_tower(tower)
    _agree(model)


def _agree(model: ComposedModel) -> None:
    """Replicas start from the weights of the first; experts have other replicas than all else."""
    groups = model.pg_collection
    for parameter in model.parameters():
        group = groups.dp_cp if getattr(parameter, "allreduce", True) else groups.expt_dp
        distributed.broadcast(parameter.data, group=group, group_src=0)
