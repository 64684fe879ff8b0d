"""A model from whatever folder one was saved in: a composed checkpoint, or a checkpoint of a training run."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing

from adapters import composed_checkpoint
from adapters.deepspeed.record import is_recorded
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import ComposedModel, build, checkpoint
from composer import Graph

OF_DEEPSPEED = (
    "is a checkpoint of DeepSpeed, which only a run on as many ranks reads. The run's own folder `hf` is its export; "
    "if that is not there, resume the run (`vlm-composer train … --resume`): it writes `hf` at its end."
)


def load_saved(folder: Path) -> tuple[ComposedModel, Graph]:
    """A whole model on this one process, in the dtype it was saved in, and its graph.

    Args:
        folder: what `vlm-composer import` wrote, or `RUN/checkpoints/step-…` of a run in any layout.

    Raises:
        CheckpointError: the folder is neither, or it does not hold what its own spec says.
    """
    if is_recorded(folder):
        raise CheckpointError(folder, [OF_DEEPSPEED])
    graph = composed_checkpoint.load_graph(folder)
    if (folder / checkpoint.RECORD).is_file():
        model = build(graph, dtype=_dtype(folder))
        checkpoint.load(folder, [model], None)
    else:
        model = build(graph, dtype=composed_checkpoint.dtype_of(folder))
        composed_checkpoint.load_tensors(model, folder)
    return model, graph


def _dtype(folder: Path) -> torch.dtype:
    """The dtype that most of the model's values have; the optimizer's do not count."""
    counts: Counter[torch.dtype] = Counter()
    stored: dict[str, Any] = dist_checkpointing.load_tensors_metadata(str(folder))
    for tensor in stored.values():
        if tensor.key.startswith("model."):
            counts[tensor.dtype] += torch.Size(tensor.global_shape).numel()
    if not counts:
        raise CheckpointError(folder, ["holds no tensors of a model"])
    ((dtype, _),) = counts.most_common(1)
    return dtype
