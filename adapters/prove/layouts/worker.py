"""One rank of a layout: runs every case of its number of ranks, and leaves what it found in a file for each.

`torchrun --nproc-per-node N -m adapters.prove.layouts.worker FOLDER`
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attrs import asdict
from megatron.core import parallel_state
from torch import distributed, nn

from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build, runtime
from adapters.megatron.implementation import implementation
from adapters.megatron.layout import group_sizes, model_overrides
from adapters.megatron.module import ComposedModel
from adapters.megatron.replicas import unwrap
from adapters.megatron.schedule import data_parallel, forward_backward
from adapters.prove.layouts import who_changes
from adapters.prove.layouts.batches import MicroBatch, arguments
from adapters.prove.layouts.gradient_errors import gather_gradients, gradient_parts
from adapters.prove.layouts.job import WEIGHTS, Alone, Case, found_file, read_alone, read_cases, read_graph
from adapters.prove.placed import placed_rows
from composer import Graph

PACKED = "packed documents"
BUCKET = 20_000
"""Parameters of a bucket: small enough that some gradients are sent while others are still being computed."""
ROLES = {"tower": "freeze_vision_model", "projector": "freeze_vision_projection", "decoder": "freeze_language_model"}


def start(case: Case, folder: Path) -> list[ComposedModel]:
    """Join the other ranks; this rank's stages, with its own share of the weights."""
    layout = case.named.layout
    runtime.init(**group_sizes(layout))
    graph = read_graph(folder / case.variant)
    places = range(layout.virtual_stages) if layout.virtual_stages > 1 else [None]
    overrides = model_overrides(layout, graph.decoder().config.config.num_layers)
    stages = [build(graph, vp_stage=place, **overrides).train() for place in places]
    for stage in stages:
        import_weights(stage, folder / case.variant / WEIGHTS)
    return stages


def own_batches(alone: Alone) -> dict[str, list[MicroBatch]]:
    """This data-parallel rank's micro-batches of every global batch: a stretch of each."""
    rank, ranks = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    return {
        name: whole[len(whole) * rank // ranks : len(whole) * (rank + 1) // ranks]
        for name, whole in alone.batches.items()
    }


def prove(
    case: Case, stages: Sequence[ComposedModel], alone: Alone, own: dict[str, list[MicroBatch]]
) -> dict[str, Any]:
    """Everything that is measured of one case on this rank."""
    graph = stages[0].config.graph
    assert graph is not None
    found: dict[str, Any] = {
        "batches": {name: _step(case, stages, own[name], alone.gradients[name]) for name in alone.batches}
    }
    found["frozen"] = {
        role: _frozen(case, stages, own[PACKED], argument, alone.gradients[PACKED])
        for role, argument in ROLES.items()
        if any(graph.component(node).role == role for node in graph.nodes)
    }
    found["changes"] = _changes(case, stages, graph, alone, own[PACKED])
    found["data_rank"] = parallel_state.get_data_parallel_rank()
    return found


def _wrapped(case: Case, stages: Sequence[ComposedModel]) -> list[Any]:
    settings = {"use_distributed_optimizer": case.named.distributed_optimizer, "grad_reduce_in_fp32": True}
    overlap = {"overlap_grad_reduce": True, "bucket_size": BUCKET}
    return [data_parallel(stage, **settings, **overlap) for stage in stages]


def _step(case: Case, stages: Sequence[ComposedModel], batches: list[MicroBatch], expected: Any) -> dict[str, Any]:
    """Loss, parts of gradients, and images encoded in one global batch."""
    replicas = _wrapped(case, stages)
    given = [arguments(batch, torch.cuda.current_device()) for batch in batches]
    if _gradients_are_sent():
        # Overlap begins with the second batch, when it is known which gradients come.
        forward_backward(replicas, given)
    with _encoding(stages) as encoded:
        loss = forward_backward(replicas, given)
    for replica in replicas:
        gather_gradients(replica)
    parts = [asdict(part) for stage in stages for part in gradient_parts(stage, expected)]
    unwrap(replicas)
    return {"loss": loss, "parts": parts, "encoded": encoded[0]}


def _gradients_are_sent() -> bool:
    """Whether some other rank has the same parameters; of experts it may be a tensor-parallel one."""
    dense = parallel_state.get_data_parallel_world_size(with_context_parallel=True)
    return max(dense, parallel_state.get_expert_data_parallel_world_size()) > 1


def _frozen(
    case: Case, stages: Sequence[ComposedModel], batches: list[MicroBatch], argument: str, expected: Any
) -> dict[str, Any]:
    """Nodes on this rank that gradient reaches while one role is frozen, and parts of their gradients."""
    for stage in stages:
        stage.freeze(**{argument: True})
    replicas = _wrapped(case, stages)
    forward_backward(replicas, [arguments(batch, torch.cuda.current_device()) for batch in batches])
    for replica in replicas:
        gather_gradients(replica)
    parts = [part for stage in stages for part in gradient_parts(stage, expected)]
    trained = [
        (name, parameter) for stage in stages for name, parameter in stage.named_parameters() if parameter.requires_grad
    ]
    reached = {name.partition(".")[0] for name, parameter in trained if bool(getattr(parameter, "main_grad").any())}  # noqa: B009
    unwrap(replicas)
    for stage in stages:
        stage.requires_grad_(True)
    return {"reached": sorted(reached), "parts": [asdict(part) for part in parts]}


@contextmanager
def _encoding(stages: Sequence[ComposedModel]) -> Iterator[list[int]]:
    """Items that this rank's towers encode."""
    encoded = [0]

    def counting(graph: Graph, name: str) -> Callable[..., None]:
        section, implemented = graph.nodes[name].config, implementation(graph.component(name))

        def count(_module: nn.Module, _args: Any, kwargs: dict[str, Any], _output: Any) -> None:
            inputs = {argument: kwargs[argument] for argument in section.arguments}
            encoded[0] += implemented.num_items(section, **inputs)

        return count

    first, graph = stages[0], stages[0].config.graph
    assert graph is not None
    towers = [name for name in graph.nodes if graph.component(name).role == "tower" and first.pre_process]
    handles = [
        first.get_submodule(name).register_forward_hook(counting(graph, name), with_kwargs=True) for name in towers
    ]
    try:
        yield encoded
    finally:
        for handle in handles:
            handle.remove()


def _changes(
    case: Case, stages: Sequence[ComposedModel], graph: Graph, alone: Alone, own: list[MicroBatch]
) -> list[dict[str, Any]]:
    """What changes with the rows that each edge places while a layer, whatever its stage, attends alone.

    Found on ranks of the last stage.
    """
    order = graph.decoder().config.layers.order
    chosen = who_changes.chosen(case.named.data_ranks)[parallel_state.get_data_parallel_rank()]
    own, found = own[: len(chosen)], []
    for number, placed in enumerate(placed_rows(graph)):
        edge = placed.edge
        placeholder = graph.tokens[edge.at[0]]
        every = [who_changes.turns(batch["input_ids"], placeholder, placed.level) for batch in alone.batches[PACKED]]
        runs, rows = max(map(len, every)), [every[number] for number in chosen]
        for layer in who_changes.layers_alone(placed, order, case.named.layout):
            changes = who_changes.changes(stages, edge.at, layer, own, rows, runs, placed.level)
            found += [{"placed": number, "layer": layer, **asdict(change)} for change in changes]
    return found


def run(case: Case, folder: Path) -> None:
    """One case, from joining to leaving."""
    stages = start(case, folder)
    alone = read_alone(folder / case.variant)
    write(case, folder, prove(case, stages, alone, own_batches(alone)))


def write(case: Case, folder: Path, found: dict[str, Any]) -> None:
    """Leave what was found, and the groups of the layout."""
    file = found_file(folder, case, distributed.get_rank())
    # A rank that fails ends this one at any moment: the file is there whole or not at all.
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.rename(file)
    runtime.leave()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in read_cases(Path(sys.argv[1])):
        if each.named.ranks == int(os.environ["WORLD_SIZE"]):
            run(each, Path(sys.argv[1]))
