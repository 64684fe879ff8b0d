"""A process that does nothing but save, for tests that kill it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.checkpoint_folder import latest, name_of, prune
from adapters.megatron import build, checkpoint, runtime
from adapters.megatron.optimizer import make_optimizer
from adapters.megatron.schedule import data_parallel
from adapters.training.settings import Stage, Training
from tests.parity.shipped_spec import tiny_graph


class Saver:
    """A small model whose every number says at which step it was saved, in each of `tp` parts of a tensor alike."""

    def __init__(self, variant: int = 1, *, tp: int = 1, overrides: Sequence[str] = (), **settings: Any) -> None:
        runtime.init(tp=tp)
        self.graph = tiny_graph(variant, overrides)
        training = Training((Stage("all", 9, tuple(self.graph.nodes)),), **settings)
        dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32
        model = build(self.graph, dtype=dtype).train()
        self.stages = [data_parallel(model, use_distributed_optimizer=training.distributed_optimizer)]
        self.optimizer = make_optimizer(self.stages, training, self.graph)
        self.optimizer.step()  # gradients are zero: this makes the moments

    def tensors(self) -> list[Tensor]:
        """Parameters, and what the optimizer has for each."""
        found = list(self.stages[0].parameters())
        for part in self.optimizer.chained_optimizers:
            found += [state["exp_avg"] for state in part.optimizer.state.values()]
        return found

    @torch.no_grad()
    def mark(self, step: float) -> None:
        for index, tensor in enumerate(self.tensors()):
            tensor.fill_(step + index / 1024)

    def save(self, checkpoints: Path, step: int, **options: Any) -> None:
        self.mark(step)
        checkpoint.save(checkpoints / name_of(step), self.stages, self.optimizer, {"step": step}, **options)

    def load(self, folder: Path) -> int:
        return int(checkpoint.load(folder, self.stages, self.optimizer)["step"])


def save_forever(checkpoints: Path, asynchronous: bool, reports: Any) -> None:
    """Go on from the newest checkpoint, as a group of its own; report each step that is complete."""
    os.setsid()
    torch.set_num_threads(1)
    saver = Saver()
    newest = latest(checkpoints)
    step = saver.load(newest) if newest else 0
    while True:
        step += 1
        saver.save(checkpoints, step, asynchronous=asynchronous)
        prune(checkpoints, 2)
        reports.send(step - asynchronous)
        saver.mark(step + 0.5)  # what trains on must not get into what is being written
