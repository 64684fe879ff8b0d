"""One of some ranks: a step in each stage of a freeze plan, in every case for so many ranks.

`torchrun --nproc-per-node 2 -m tests.distributed.freeze_worker FOLDER` with what `test_freeze_plan.py` put there;
writes each rank's parameters by their names in the whole model: before, and after each stage.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, distributed

from adapters.megatron import ComposedModel, runtime
from adapters.megatron.parameter_names import canonical_names
from adapters.megatron.start import build_stages
from adapters.training.job import make_engine
from composer.plans.freeze_file import read_freeze_plan
from tests.distributed.engine_cases import as_batch
from tests.distributed.freeze_cases import CASES, LR, Case
from tests.distributed.graphs import tiny

PLAN = "plan.yaml"


def run(case: Case, folder: Path) -> list[dict[str, Tensor]]:
    graph, settings = tiny("experts"), case.settings
    plan = read_freeze_plan(folder / PLAN, graph)
    engine = make_engine(build_stages(graph, settings, folder / "weights"), settings, plan)
    rows = [as_batch(each) for each in torch.load(folder / "rows.pt", weights_only=True)]
    share = len(rows) // engine.data_ranks
    own = rows[engine.data_rank * share : (engine.data_rank + 1) * share]
    found = [parameters(engine)]
    for stage in settings.stages:
        engine.begin_stage(stage)
        engine.step(own, LR)
        if hasattr(engine, "gather"):
            engine.gather()
        found.append(parameters(engine))
    return found


def parameters(engine) -> dict[str, Tensor]:
    models: list[ComposedModel] = getattr(engine, "models", [engine.model])
    return {name: p.detach().clone() for model in models for name, p in canonical_names(model).items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in CASES:
        if each.ranks == 2:
            steps = run(each, Path(sys.argv[1]))
            torch.save(steps, Path(sys.argv[1]) / f"{each.name}.{distributed.get_rank()}.pt")
            runtime.leave()
