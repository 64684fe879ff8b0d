"""One of two ranks, or one alone: counts every case and writes what it found.

`torchrun --nproc-per-node 2 -m tests.adapters.plans.activation_worker FILE` counts those of two ranks, into FILE.0 and
FILE.1.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor, distributed

from adapters.megatron import replicas, runtime
from adapters.megatron.start import build_stages
from adapters.training.settings import Stage, Training
from adapters.training.stages import freeze_all_but
from components.language import core_attention
from components.language.attention_blocks import BLOCK_QUERIES, TABLE_PAIRS
from tests.adapters.plans.activation_cases import ALONE, PEAKS, TOGETHER, Case, batch_of, graph_of
from tests.adapters.plans.activation_counter import count, peak


def counted(case: Case) -> dict[str, int]:
    """Of this rank's stage, one micro-batch."""
    graph = graph_of(case.model)
    _attend_as(case)
    stage = Stage("case", 1, case.trains)
    settings = Training(stages=(stage,), layout=case.layout, precision=case.precision)  # type: ignore[arg-type]
    [model] = build_stages(graph, settings)
    freeze_all_but(model, graph, stage)
    model.train()
    batch = batch_of(case, graph)

    def forward() -> Tensor:
        if not model.pre_process:
            # Schedules make room for what they receive, and hold on to it.
            model.set_input_tensor(_received(case, model.config.hidden_size))
        output: Any = model(**batch)
        return output[0] if isinstance(output, tuple) else output

    found = count(model, forward, [*batch.values()])
    place = parallel_state.get_pipeline_model_parallel_rank()
    runtime.leave()
    return found | {"pipeline": place}


def _attend_as(case: Case) -> None:
    """By blocks, or whole as sequences of this length are; the case before may have said otherwise."""
    core_attention.TABLE_PAIRS, core_attention.BLOCK_QUERIES = (
        (0, 64) if case.by_blocks else (TABLE_PAIRS, BLOCK_QUERIES)
    )


def _received(case: Case, width: int) -> Tensor:
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    return torch.randn(case.seq, case.micro_batch, width, dtype=dtype, requires_grad=True)


def peak_of(case: Case) -> int:
    """Of a step; gradients are summed in buffers that are there anyway."""
    _attend_as(case)
    graph = graph_of(case.model)
    stage = Stage("case", 1, case.trains)
    settings = Training(stages=(stage,), layout=case.layout, precision=case.precision)  # type: ignore[arg-type]
    models = build_stages(graph, settings)
    freeze_all_but(models[0], graph, stage)
    models[0].train()
    wrapped: list[Any] = list(replicas.wrap(models, settings))
    batch = batch_of(case, graph)

    def step() -> None:
        losses, mask = wrapped[0](**batch)
        (losses * mask).sum().backward()

    buffers = [buffer.grad_data for buffer in wrapped[0].buffers + wrapped[0].expert_parallel_buffers]
    found = peak(step, [*models[0].parameters(), *models[0].buffers(), *batch.values(), *buffers])
    runtime.leave()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    runtime.join()
    cases = ALONE if distributed.get_world_size() == 1 else TOGETHER
    found = {case.name: counted(case) for case in cases}
    if cases is ALONE:
        for case in PEAKS:
            found[case.name]["peak"] = peak_of(case)
    Path(f"{sys.argv[1]}.{distributed.get_rank()}").write_text(json.dumps(found), encoding="utf-8")
