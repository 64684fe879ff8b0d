"""One rank's model in a layout, with its optimizer: steps, and its parts of every tensor."""

from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state

from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.rank_share import share_of
from adapters.huggingface.weight_map import weight_map
from adapters.megatron import build, runtime
from adapters.megatron.optimizer import apply_gradients, make_optimizer
from adapters.megatron.schedule import data_parallel, forward_backward
from adapters.training.settings import Stage, Training
from adapters.training.stages import freeze_all_but
from tests.distributed.checkpoint_cases import Case
from tests.distributed.graphs import tiny


class Run:
    """A fresh model; `seed` decides its weights, `batches` are the micro-batches of every global batch."""

    def __init__(self, case: Case, batches: list[dict[str, Any]], seed: int) -> None:
        runtime.init(**case.sizes, seed=seed)
        self.graph = tiny(case.variant)
        virtual = case.sizes.get("virtual_pipeline_model_parallel_size", 0)
        self.models = [build(self.graph, vp_stage=stage, **case.settings).train() for stage in range(virtual) or [None]]
        stage = Stage("one", 9, case.trains or tuple(self.graph.nodes))
        for model in self.models:
            freeze_all_but(model, self.graph, stage)
        self.stages = [data_parallel(model, use_distributed_optimizer=case.shared) for model in self.models]
        settings = Training((stage,), distributed_optimizer=case.shared)
        self.optimizer = make_optimizer(self.stages, settings, self.graph)
        share = len(batches) // parallel_state.get_data_parallel_world_size()
        first = parallel_state.get_data_parallel_rank() * share
        self.batches = batches[first : first + share]

    def step(self, number: int) -> float:
        """One optimizer step at a rate of its own. Returns the loss before it."""
        self.optimizer.zero_grad()
        loss = forward_backward(self.stages, self.batches)
        self.optimizer.prepare_grads()
        apply_gradients(self.optimizer, 1e-3 / number, float(self.optimizer.get_grad_norm()))
        return loss

    def tensors(self) -> list[tuple]:
        """[(Hugging Face name, dimension, index, parts, values)] of every parameter and buffer of this rank."""
        found = []
        for model in self.models:
            held, share = rank_tensors(model), share_of(model)
            for entry in weight_map(self.graph, held, share):
                window = share.window(entry.split)
                for name, piece in entry.pieces(held).items():
                    values = piece.values().detach()
                    found.append((name, window.dim, window.part.index, window.part.parts, values))
        return found


def whole(ranks: list[list[tuple]]) -> dict[str, torch.Tensor]:
    """Every tensor put together from the parts of all ranks; copies must be the same bit for bit."""
    slices: dict[str, Any] = {}
    for parts in ranks:
        for name, dim, index, count, values in parts:
            have = slices.setdefault(name, (dim, count, {}))[2].setdefault(index, values)
            assert torch.equal(have, values), f"{name}: copies differ"
    found = {}
    for name, (dim, count, parts) in slices.items():
        assert len(parts) == count, (name, count, list(parts))
        found[name] = torch.cat([parts[index] for index in range(count)], dim) if count > 1 else parts[0]
    return found


def micro_batches(batch: Any) -> list[dict[str, Any]]:
    """Four rows with their pictures."""
    ends = batch.images_per_sample.cumsum(0).tolist()
    found = []
    for row in (0, 1, 2, 1):
        rows, pictures = slice(row, row + 1), slice(ends[row] - int(batch.images_per_sample[row]), ends[row])
        fields = ("input_ids", "attention_mask", "labels", "images_per_sample")
        cut = {name: getattr(batch, name)[rows] for name in fields}
        cut |= {name: values[pictures] for name, values in batch.features.items()}
        found.append(cut | {"loss_mask": batch.loss_mask[rows].float()})
    return found


def checkpoint_of(folder: Path, case: Case, step: int) -> Path:
    """Where a case saves."""
    return folder / case.id / f"step-{step:08d}"
