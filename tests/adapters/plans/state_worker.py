"""One of two ranks: takes a step in every case and counts what the engine's own objects hold.

`torchrun --nproc-per-node 2 -m tests.adapters.plans.state_worker FILE` writes FILE.0 and FILE.1.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.optimizer import MegatronOptimizer
from torch import Tensor, distributed, nn

from adapters.megatron import runtime
from adapters.megatron.engine import MegatronEngine
from adapters.megatron.start import build_stages
from adapters.training.collator import Batch
from adapters.training.settings import Stage, Training
from tests.adapters.plans.activation_cases import Case, batch_of, graph_of
from tests.adapters.plans.state_cases import CASES, MICRO_BATCHES, StateCase


class Passes:
    """Forward passes of this rank's stages that have not gone back yet, and the most there were of each."""

    def __init__(self, stages: list[nn.Module]) -> None:
        self._open = [0] * len(stages)
        self.at_first_backward: list[int] | None = None
        for number, stage in enumerate(stages):
            stage.register_forward_hook(self._forward(number))

    def _forward(self, number: int) -> Any:
        def begun(_module: nn.Module, _arguments: Any, output: Any) -> None:
            self._open[number] += 1
            tensor: Tensor = output[0] if isinstance(output, tuple) else output
            tensor.register_hook(ended)

        def ended(_gradient: Tensor) -> None:
            if self.at_first_backward is None:
                self.at_first_backward = list(self._open)
            self._open[number] -= 1

        return begun


def counted(state_case: StateCase) -> dict[str, Any]:
    """After one step: bytes of parameters, of gradient buffers, of optimizer state; passes in flight."""
    case = state_case.case
    graph = graph_of(case.model)
    settings = Training(
        stages=(Stage("case", 1, case.trains),),
        layout=case.layout,
        precision=case.precision,  # type: ignore[arg-type]
        distributed_optimizer=state_case.distributed_optimizer,
    )
    models = build_stages(graph, settings)
    engine = MegatronEngine(models, settings)
    engine.begin_stage(settings.stages[0])
    passes = Passes([*engine.stages])
    engine.step([_batch(case)] * MICRO_BATCHES, 1e-4)
    parameters = {id(each): each for model in models for each in model.parameters()}
    wrapped: list[Any] = list(engine.stages)
    buffers = [buffer for stage in wrapped for buffer in stage.buffers + stage.expert_parallel_buffers]
    found = {
        "pipeline": parallel_state.get_pipeline_model_parallel_rank(),
        "weights": sum(each.numel() * each.element_size() for each in parameters.values()),
        "gradients": sum(buffer.grad_data.nbytes for buffer in buffers),
        "optimizer": _bytes(_states(engine.optimizer)),
        "in_flight": passes.at_first_backward,
    }
    runtime.leave()
    return found


def _states(optimizer: MegatronOptimizer) -> Iterator[Tensor]:
    """Moments, and parameters in float32 that the optimizer keeps beside the model's."""
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        for state in part.optimizer.state.values():
            yield from (each for each in state.values() if isinstance(each, Tensor) and each.dim())
        for groups in ("fp32_from_float16_groups", "shard_fp32_from_float16_groups"):
            for group in getattr(part, groups, []):
                yield from (each for each in group if each is not None)


def _bytes(tensors: Iterator[Tensor]) -> int:
    return sum(storage.nbytes() for storage in {each.data_ptr(): each.untyped_storage() for each in tensors}.values())


def _batch(case: Case) -> Batch:
    given = batch_of(case, graph_of(case.model))
    ids = given["input_ids"]
    return Batch(
        input_ids=ids,
        labels=given["labels"],
        loss_mask=given["loss_mask"],
        attention_mask=torch.ones_like(ids, dtype=torch.bool),
        pixel_values=given["pixel_values"],
        image_position_ids=given["image_position_ids"],
        images_per_sample=torch.full((len(ids),), case.images),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    runtime.join()
    found = {each.case.name: counted(each) for each in CASES}
    Path(f"{sys.argv[1]}.{distributed.get_rank()}").write_text(json.dumps(found), encoding="utf-8")
