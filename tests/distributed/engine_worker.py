"""One of two ranks, or one alone: runs every case's steps and writes losses, gradient norms and what it holds.

`torchrun --nproc-per-node 2 -m tests.distributed.engine_worker FOLDER` with what `test_engine.py` put there.
"""

import sys
from pathlib import Path

import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch import distributed

from adapters.megatron import random_state, runtime
from adapters.megatron.engine import MegatronEngine
from adapters.megatron.layout import group_sizes
from adapters.megatron.start import build_stages
from adapters.training.settings import Layout, Stage, Training
from tests.distributed.engine_cases import CASES, FRESH, LR, STAGES, Case, as_batch
from tests.distributed.graphs import tiny


def run(case: Case, folder: Path) -> dict:
    """Losses and norms step by step; names of what has buffers, optimizer state or has changed, stage by stage."""
    settings = case.settings
    models = build_stages(tiny(case.variant), settings, folder / case.variant)
    engine = MegatronEngine(models, settings, bucket_size=case.bucket_size)
    rows = [as_batch(each) for each in torch.load(folder / f"{case.variant}.{case.data}.pt", weights_only=True)]
    share = len(rows) // engine.data_ranks
    own = rows[engine.data_rank * share : (engine.data_rank + 1) * share]
    steps, holds = [], []
    for stage in settings.stages:
        engine.begin_stage(stage)
        before = named(engine)
        before = {name: parameter.detach().clone() for name, parameter in before.items()}
        steps += [engine.step(own, LR) for _ in range(stage.steps)]
        engine.gather()
        holds.append(held(engine, stage, before))
    return {"loss": [step.loss for step in steps], "norm": [step.grad_norm for step in steps], "holds": holds}


def named(engine: MegatronEngine) -> dict[str, torch.nn.Parameter]:
    return {
        f"{index}.{name}": parameter
        for index, model in enumerate(engine.models)
        for name, parameter in model.named_parameters()
    }


def held(engine: MegatronEngine, stage: Stage, before: dict[str, torch.Tensor]) -> dict:
    parameters = named(engine)
    buffers = [buffer for each in engine.stages for buffer in each.buffers + each.expert_parallel_buffers]
    return {
        "trains": {name for name in parameters if name.split(".")[1] in stage.trains},
        "gradients": {name for name, parameter in parameters.items() if hasattr(parameter, "main_grad")},
        "changed": {name for name, parameter in parameters.items() if not torch.equal(before[name], parameter)},
        "buffers": sum(parameter.numel() for buffer in buffers for parameter in buffer.params),
        "optimizer": sum(p.numel() for group in engine.optimizer.param_groups for p in group["params"]),
        "sizes": {name: parameter.numel() for name, parameter in parameters.items()},
    }


def fresh(layout: Layout) -> dict[str, dict]:
    """Fresh parameters, by what Megatron-Core takes them for: of experts, parts of tensor-parallel ones, or copies."""
    settings = Training(stages=STAGES, layout=layout, seed=3)
    runtime.init(seed=settings.seed, **group_sizes(layout))
    random_state.seed_random(settings.seed)
    # What Megatron-Core draws its own parameters with on a device.
    found: dict[str, dict] = {"experts": {}, "parts": {}, "copies": {}, "device": get_cuda_rng_tracker().get_states()}
    [model] = build_stages(tiny("experts"), settings)
    for name, parameter in model.named_parameters():
        part = "parts" if getattr(parameter, "tensor_model_parallel", False) else "copies"
        found["experts" if ".local_experts." in name else part][name] = parameter.detach()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in CASES:
        found = run(each, Path(sys.argv[1]))
        torch.save(found, Path(sys.argv[1]) / f"{each.id}.{distributed.get_rank()}.steps.pt")
        runtime.leave()
    for name, layout in FRESH.items():
        found = fresh(layout)
        torch.save(found, Path(sys.argv[1]) / f"fresh.{name}.{distributed.get_rank()}.pt")
        runtime.leave()
