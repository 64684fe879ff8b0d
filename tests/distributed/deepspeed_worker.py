"""One of two data-parallel ranks: trains every case, and writes its losses.

`torchrun --nproc-per-node 2 -m tests.distributed.deepspeed_worker FOLDER CASE…`; FOLDER as for `worker.py`.
"""

import sys
import time
from pathlib import Path

import torch

from adapters.deepspeed.engine import DeepSpeedEngine
from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build, runtime
from adapters.megatron.optimizer import make_optimizer, set_learning_rate
from adapters.megatron.schedule import data_parallel, forward_backward
from tests.distributed.deepspeed_cases import CASES, CHANGES, STEPS, batches, settings
from tests.distributed.graphs import tiny


def model_of(variant, folder):
    model = build(tiny(variant)).train()
    import_weights(model, folder / variant)
    return model


def megatron(variant, folder, rank):
    graph, run = tiny(variant), settings()
    wrapped = data_parallel(model_of(variant, folder))
    optimizer = make_optimizer([wrapped], run, graph)
    rows = torch.load(folder / f"{variant}.pt", weights_only=True)
    losses, norms = [], []
    for step in range(STEPS):
        micro = [b.inputs() | {"labels": b.labels, "loss_mask": b.loss_mask} for b in batches(rows, step, rank)]
        losses.append(forward_backward([wrapped], micro))
        set_learning_rate(optimizer, run.optimizer.lr)
        norms.append(float(optimizer.step()[1]))
    return {"losses": losses, "norms": norms}


def deepspeed(case, folder, rank):
    run = settings(case)
    engine = DeepSpeedEngine(model_of(case.variant, folder), run, CHANGES)
    engine.begin_stage(run.stages[0])
    rows = torch.load(folder / f"{case.variant}.pt", weights_only=True)
    results = [engine.step(batches(rows, step, rank), run.optimizer.lr) for step in range(STEPS)]
    return {"losses": [r.loss for r in results], "norms": [r.grad_norm for r in results]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    runtime.init()
    rank = torch.distributed.get_rank()
    folder, chosen = Path(sys.argv[1]), sys.argv[2:]
    found = {}
    for variant in ("experts",):
        began = time.monotonic()
        found[f"{variant}-megatron"] = megatron(variant, folder, rank)
        print(f"TIME {variant} megatron {time.monotonic() - began:.1f}", flush=True)
    for case in CASES:
        if case.id in chosen:
            began = time.monotonic()
            found[case.id] = deepspeed(case, folder, rank)
            print(f"TIME {case.id} {time.monotonic() - began:.1f}", flush=True)
    torch.save(found, folder / f"deepspeed.{rank}.pt")
