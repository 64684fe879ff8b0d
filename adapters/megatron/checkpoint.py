"""Checkpoints of composed models in any layout, by Megatron-Core's `dist_checkpointing`.

A checkpoint is a folder (see `adapters.checkpoint_folder`) that holds

    spec.yaml            the resolved spec
    checkpoint.json      progress of the run, the layout, the optimizer's kind and steps
    random-00000.pt      random states of each rank
    *.distcp, .metadata  every tensor of model and optimizer, cut as it was, by global names and shapes
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding
from torch import distributed, nn

from adapters import checkpoint_folder
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.megatron import optimizer_state, random_state, runtime
from adapters.megatron.background_writer import BackgroundWriter, reporting
from adapters.megatron.save_errors import on_first_rank, told
from adapters.megatron.stored_tensors import check_tensors
from adapters.spec_difference import differences
from composer import Graph, dump

SPEC, RECORD = "spec.yaml", "checkpoint.json"
# Layers of different kinds differ in shape, so each is stored by its number and not as a slice of all layers.
BY_NUMBER = {"non_homogeneous_layers": True}

_writer = BackgroundWriter()


@frozen
class Record:
    """What a checkpoint knows besides tensors."""

    progress: dict[str, Any]
    layout: dict[str, int | None]
    optimizer: str
    steps: int
    seed: int
    """For random generators where the layout differs."""


def save(
    folder: Path,
    stages: Sequence[nn.Module],
    optimizer: Any,
    progress: dict[str, Any],
    *,
    asynchronous: bool = False,
) -> None:
    """Save model, optimizer, random states and progress; every rank calls it.

    Args:
        folder: `RUN/checkpoints/step-00000040`; it appears when the checkpoint is complete.
        stages: this rank's pipeline stages in order, wrapped for data parallelism or not.
        optimizer: from `get_megatron_optimizer`, over these stages.
        progress: anything JSON can hold.
        asynchronous: return once what is to be written is in memory; a forked process writes it. The folder appears in
            `finish_save`, or in the next `save`.

    Raises:
        CheckpointError: the folder is there already, or this or the last save failed; on every rank. Earlier
            checkpoints are as they were.
    """
    finish_save()
    staging = Path(on_first_rank(folder, partial(_stage, folder)))
    graph = _graph_of(stages)
    steps, model = optimizer_state.steps_done(optimizer), _model_tensors(stages)
    tensors = {"model": model, "optimizer": optimizer_state.sharded_tensors(optimizer, model, loading=False)}
    with reporting():
        request: Any = dist_checkpointing.save(tensors, str(staging), async_sharded_save=True, async_strategy="mcore")
    random_state.save_random(staging, distributed.get_rank())
    record = Record(progress, _layout(), optimizer_state.kind_of(optimizer), steps, random_state.seed_from_now())
    on_first_rank(folder, partial(_describe, staging, graph, record))
    request.add_finalize_fn(partial(on_first_rank, folder, partial(checkpoint_folder.publish, staging, folder)))
    if asynchronous:
        _writer.start(request)
    else:
        with told(folder):
            request.execute_sync()


def finish_save(*, wait: bool = True) -> bool:
    """Complete an asynchronous save; every rank calls it, any number of times.

    Args:
        wait: until all ranks have written. Otherwise the save is completed only if they have: for a call after each
            step, which costs one small all-reduce while a save is under way and nothing else.

    Returns:
        Whether no save is under way any more.

    Raises:
        CheckpointError: a rank could not write; on every rank.
    """
    with told("the checkpoint under way"):
        return _writer.finish(wait=wait)


def load(folder: Path, stages: Sequence[nn.Module], optimizer: Any | None) -> dict[str, Any]:
    """Load what `save` wrote into a model of the same spec, in the same or another layout; every rank calls it.

    In the same layout, random generators continue where they were. In another one they are seeded, the same way each
    time, from the saved ones.

    Args:
        folder: a complete checkpoint.
        stages: as in `save`; their weights are replaced.
        optimizer: of the same kind, over the same parameters; None: weights only, and random generators stay.

    Returns:
        The progress that was saved.

    Raises:
        CheckpointError: another spec, another kind of optimizer, missing or surplus tensors; nothing is loaded then.
    """
    record = _read(folder, _graph_of(stages))
    if optimizer is not None and (kind := optimizer_state.kind_of(optimizer)) != record.optimizer:
        advice = "load with the `precision` and `distributed_optimizer` that it was saved with"
        raise CheckpointError(folder, [f"the optimizer was {record.optimizer}, it is {kind} now: {advice}"])
    model = _model_tensors(stages)
    tensors: dict[str, Any] = {"model": model}
    if optimizer is not None:
        tensors["optimizer"] = optimizer_state.sharded_tensors(optimizer, model, loading=True)
    check_tensors(folder, tensors)
    loaded: Any = dist_checkpointing.load(tensors, str(folder))
    for name, stage in zip(model, stages, strict=True):
        _bare(stage).load_state_dict(loaded["model"][name])
    if optimizer is not None:
        optimizer_state.load_tensors(optimizer, loaded.get("optimizer", {}), record.steps)
        if record.layout == _layout():
            random_state.load_random(folder, distributed.get_rank())
        else:
            random_state.seed_random(record.seed)
    return record.progress


def _model_tensors(stages: Sequence[nn.Module]) -> dict[str, Any]:
    """Sharded state dicts of the stages, by index."""
    found = {}
    for index, stage in enumerate(stages):
        module: Any = _bare(stage)
        found[f"stage{index}"] = module.sharded_state_dict(metadata=dict(BY_NUMBER))
        add_prefix_for_sharding(found[f"stage{index}"], "model.")
    return found


def _bare(stage: nn.Module) -> nn.Module:
    """A stage without its data-parallel wrapper."""
    inner = stage.module if isinstance(getattr(stage, "module", None), nn.Module) else stage
    assert isinstance(inner, nn.Module)
    return inner


def _graph_of(stages: Sequence[nn.Module]) -> Graph:
    config: Any = _bare(stages[0]).config
    graph: Graph = config.graph
    return graph


def _layout() -> dict[str, int | None]:
    return {"ranks": distributed.get_world_size(), **runtime.sizes()}


def _stage(folder: Path) -> str:
    checkpoint_folder.remove_incomplete(folder.parent)
    return str(checkpoint_folder.stage(folder))


def _describe(staging: Path, graph: Graph, record: Record) -> None:
    (staging / SPEC).write_text(dump(graph), encoding="utf-8")
    (staging / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")


def _read(folder: Path, graph: Graph) -> Record:
    """The record of a checkpoint of this graph's model."""
    if not (folder / RECORD).is_file():
        raise CheckpointError(folder, [f"no {RECORD}: not a checkpoint of this program, or not a complete one"])
    if problems := differences((folder / SPEC).read_text(encoding="utf-8"), graph):
        raise CheckpointError(folder, ["is of another model", *problems])
    return Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
