"""One of several ranks: runs every layout and writes its loss and its parts of all gradients.

`torchrun --nproc-per-node N -m tests.distributed.worker FOLDER` with what `conftest.py` put into the folder; N chooses
the layouts.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from megatron.core import parallel_state
from torch import distributed

from adapters.huggingface.checkpoint import RowReader
from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.import_weights import import_weights
from adapters.huggingface.rank_share import share_of
from adapters.huggingface.weight_map import weight_map
from adapters.megatron import build, runtime
from adapters.megatron.schedule import data_parallel, forward_backward
from tests.distributed import faults
from tests.distributed.batches import arguments
from tests.distributed.graphs import tiny
from tests.distributed.layouts import COMBINED, FAULTS, LAYOUTS, Layout


def run(layout: Layout, folder: Path) -> None:
    runtime.init(**layout.sizes)
    graph = tiny(layout.variant)
    virtual = layout.sizes.get("virtual_pipeline_model_parallel_size", 0)
    models = [build(graph, vp_stage=stage, **layout.settings).train() for stage in range(virtual) or [None]]
    with faults.importing(layout.fault), counting() as read:
        for model in models:
            import_weights(model, folder / layout.variant)
    batches = torch.load(folder / f"{layout.variant}.{layout.data}.pt", weights_only=True)
    ranks = parallel_state.get_data_parallel_world_size()
    share = len(batches) // ranks
    first = parallel_state.get_data_parallel_rank() * share
    mine = faults.break_batches(layout.fault, models[0], batches[first : first + share])
    faults.break_model(layout.fault, models[0])
    for model in models:
        model.freeze(freeze_vision_model=layout.frozen)
    with encoding(models) as encoded:
        wrapped = [data_parallel(model, **layout.wrapper) for model in models]
        # Twice: overlapping begins with the second batch, when it is known which gradients come.
        losses = [forward_backward(wrapped, [arguments(batch) for batch in mine]) for _ in range(2)]
    held = sum(tensor.nbytes for model in models for tensor in rank_tensors(model).values())
    found = [part for model in models for part in parts(model, graph)]
    result = {"loss": losses[-1], "gradients": found, "read": read[0], "held": held, "encoded": encoded[0]}
    torch.save(result, folder / f"{layout.id}.{distributed.get_rank()}.pt")
    parallel_state.destroy_model_parallel()


@contextmanager
def counting():
    """Bytes that an import reads from the files."""
    read, rows = [0], RowReader.rows

    def counted(*args):
        tensor = rows(*args)
        read[0] += tensor.nbytes
        return tensor

    RowReader.rows = counted
    try:
        yield read
    finally:
        RowReader.rows = rows


@contextmanager
def encoding(models):
    """Images that this rank's tower encodes in one global batch."""
    encoded = [0.0]

    def count(_module, _args, inputs, _output):
        encoded[0] += inputs["pixel_values"].shape[0] / 2

    towers = [model.vision_tower for model in models if model.pre_process]
    handles = [tower.register_forward_hook(count, with_kwargs=True) for tower in towers]
    try:
        yield encoded
    finally:
        for handle in handles:
            handle.remove()


def parts(model, graph):
    """[(Hugging Face name, dimension, index, parts, gradient)] of everything that trains here."""
    share = share_of(model)
    arrived = {name: parameter.main_grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = []
    for entry in weight_map(graph, rank_tensors(model), share):
        if all(name in arrived for name in entry.composed):
            window = share.window(entry.split)
            for name, piece in entry.pieces(arrived).items():
                whole = torch.cat([view.reshape(-1) for view in piece.views]).reshape(piece.shape)
                found.append((name, window.dim, window.part.index, window.part.parts, whole))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in (*LAYOUTS, *COMBINED, *FAULTS):
        if each.ranks == int(os.environ["WORLD_SIZE"]):
            run(each, Path(sys.argv[1]))
