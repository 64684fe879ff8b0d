"""What is planted on which of two ranks, and what both must find; as a module, one of the ranks."""

import sys
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from megatron.core import parallel_state
from torch import distributed

from adapters.megatron import build, runtime
from adapters.megatron.non_finite import locate
from adapters.megatron.schedule import data_parallel
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle
from adapters.prove.layouts.batches import global_batches
from composer import Graph
from tests.distributed.graphs import tiny

LAYER = "language_model.decoder.layers.3"


def batches(variant: str = "dense") -> tuple[Graph, list[dict[str, Any]]]:
    """A tiny graph, and four micro-batches of one row: three with pictures, one of text alone."""
    graph = tiny(variant)
    return graph, global_batches(make_batch(graph, build_oracle(graph)))["pictures"].micro_batches


@frozen
class Case:
    """A layout; a parameter (path on its rank, so with a stage's own layer numbers) that is spoiled on one rank."""

    name: str
    sizes: dict[str, int]
    expected: str
    rank: int = 0
    parameter: str | None = None
    chunk: int = 0
    settings: dict[str, Any] = field(factory=dict)
    wrapper: dict[str, Any] = field(factory=dict)


PROJECTION = "self_attention.linear_proj"
TOWER = "vision_tower.encoder.layers.1.mlp.up_proj.linear"
RECOMPUTE = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
CASES = (
    Case("healthy", {"pp": 2}, "None"),
    Case(
        "pp2_second_stage",
        {"pp": 2},
        f"micro-batch 1, rank 1, node language_model: parameter weight of {LAYER}.{PROJECTION}",
        rank=1,
        parameter=f"language_model.decoder.layers.1.{PROJECTION}.weight",
    ),
    Case(
        "pp2_recompute_first_stage",
        {"pp": 2},
        f"micro-batch 1, rank 0, node vision_tower: parameter weight of {TOWER}",
        parameter=f"{TOWER}.weight",
        settings=RECOMPUTE,
    ),
    Case(
        "pp2vp2",
        {"pp": 2, "virtual_pipeline_model_parallel_size": 2},
        f"micro-batch 1, rank 0, node language_model: parameter weight of language_model.decoder.layers.2.{PROJECTION}",
        parameter=f"language_model.decoder.layers.0.{PROJECTION}.weight",
        chunk=1,
    ),
    Case(
        "tp2",
        {"tp": 2},
        f"micro-batch 1, rank 1, node language_model: parameter weight of {LAYER}.self_attention.linear_qkv",
        rank=1,
        parameter=f"{LAYER}.self_attention.linear_qkv.weight",
    ),
    Case(
        "dp2_pixel",
        {},
        "micro-batch 1, rank 1, node vision_tower: input pixel_values of vision_tower",
        rank=1,
        wrapper={"overlap_grad_reduce": True, "use_distributed_optimizer": True},
    ),
)


def run(case: Case, folder: Path) -> None:
    runtime.init(**case.sizes)
    graph, micro_batches = batches()
    share = len(micro_batches) // parallel_state.get_data_parallel_world_size()
    first = parallel_state.get_data_parallel_rank() * share
    mine, here = micro_batches[first : first + share], distributed.get_rank() == case.rank
    virtual = case.sizes.get("virtual_pipeline_model_parallel_size", 0)
    models = [build(graph, vp_stage=stage, **case.settings).train() for stage in range(virtual) or [None]]
    if here and case.parameter:
        with torch.no_grad():
            models[case.chunk].get_parameter(case.parameter).flatten()[0] = torch.nan
    if here and case.name == "dp2_pixel":
        mine[0]["pixel_values"].flatten()[7] = torch.nan
    finding = locate([data_parallel(model, **case.wrapper) for model in models], mine)
    (folder / f"{case.name}.{distributed.get_rank()}.txt").write_text(str(finding))
    parallel_state.destroy_model_parallel()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in CASES:
        run(each, Path(sys.argv[1]))
    distributed.destroy_process_group()
