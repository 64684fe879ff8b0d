"""One of several ranks: imports and exports in every layout.

`torchrun --nproc-per-node N -m tests.distributed.export_worker FOLDER` with what `test_export.py` put into the folder;
N chooses the layouts. What this rank read, held and was told is in FOLDER/<layout>.<rank>.pt.
"""

import os
import sys
from pathlib import Path

import torch
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from torch import distributed

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build, checkpoint, runtime
from adapters.megatron.schedule import data_parallel
from adapters.prove.layouts.job import WEIGHTS
from tests.distributed.export_faults import broken
from tests.distributed.export_layouts import EVERY, MAX_SHARD_BYTES, SAVED, Layout
from tests.distributed.graphs import tiny
from tests.distributed.reading import counting


def run(layout: Layout, folder: Path) -> None:
    runtime.init(**layout.sizes)
    virtual = layout.sizes.get("virtual_pipeline_model_parallel_size", 0)
    graph = tiny(layout.variant)
    models = [build(graph, vp_stage=stage, **layout.settings).train() for stage in range(virtual) or [None]]
    with counting() as read:
        for model in models:
            import_weights(model, folder / layout.variant / WEIGHTS)
    held = sum(tensor.nbytes for model in models for tensor in rank_tensors(model).values())
    told = None
    with broken(layout.fault, models[0], folder / layout.id):
        try:
            export_weights(models, folder / layout.id, max_shard_bytes=MAX_SHARD_BYTES)
        except CheckpointError as error:
            told = str(error)
    torch.save({"read": read[0], "held": held, "told": told}, folder / f"{layout.id}.{distributed.get_rank()}.pt")
    if layout.id == SAVED:
        stages = [data_parallel(model) for model in models]
        optimizer = get_megatron_optimizer(OptimizerConfig(optimizer="adam", lr=1e-3), stages)
        checkpoint.save(folder / "checkpoints" / "step-00000001", stages, optimizer, {})
    runtime.leave()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in EVERY:
        if each.ranks == int(os.environ["WORLD_SIZE"]):
            run(each, Path(sys.argv[1]))
    distributed.destroy_process_group()
