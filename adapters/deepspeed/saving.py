"""Checkpoints to resume from, in DeepSpeed's own form; they appear whole or not at all (`checkpoint_folder.py`).

FOLDER/spec.yaml            the resolved spec
FOLDER/deepspeed.json       ZeRO stage, ranks, precision (`record.py`)
FOLDER/deepspeed/…          DeepSpeed's: model, optimizer, progress
FOLDER/random-00000.pt      random states of each rank
FOLDER/spare-00000.pt       what each rank's idle towers run on
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from adapters import checkpoint_folder
from adapters.deepspeed import record
from adapters.deepspeed.idle_towers import IdleTowers
from adapters.deepspeed.record import Record
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.ranks import all_ranks
from adapters.megatron import random_state
from adapters.megatron.save_errors import on_first_rank
from composer import Graph

TAG = "deepspeed"


def save(
    engine: Any, towers: IdleTowers, folder: Path, progress: dict[str, Any], *, graph: Graph, saved_by: Record
) -> None:
    """Every rank writes its part; the checkpoint is complete when this returns.

    What killed runs left beside `folder` is removed.

    Args:
        engine: whose model and optimizer are saved.
        towers: of the model.
        folder: must not be there.
        progress: anything that pickles; rank 0's is kept.
        graph: the model's.
        saved_by: the run, as `load` compares it.

    Raises:
        CheckpointError: on every rank: `folder` is there already, or rank 0 cannot make it, or a rank cannot write its
            random states or rank 0 the description, or `folder` cannot get its name.
        OSError: DeepSpeed could not write on this rank; other ranks lose it as a peer.
    """
    with all_ranks() as ranks:
        staging = Path(on_first_rank(folder, partial(_stage, folder), ranks.group))
        engine.save_checkpoint(str(staging), tag=TAG, client_state={"progress": progress})
        with ranks.together(folder):
            random_state.save_random(staging, ranks.rank)
            torch.save(towers.spare, _spare_file(staging, ranks.rank))
        on_first_rank(folder, partial(_publish, staging, folder, graph, saved_by), ranks.group)


def load(engine: Any, towers: IdleTowers, folder: Path, *, graph: Graph, loaded_by: Record) -> dict[str, Any]:
    """What `save` wrote, on as many ranks and with the same ZeRO stage and precision; returns `progress`.

    Raises:
        CheckpointError: it is none of DeepSpeed, or of another kind of run or model; nothing is loaded then.
    """
    record.check(folder, graph, loaded_by)
    rank = distributed.get_rank()
    path, found = engine.load_checkpoint(str(folder), tag=TAG)
    if path is None:
        raise CheckpointError(folder, [f"DeepSpeed finds nothing to load in {TAG}/"])
    towers.spare = torch.load(_spare_file(folder, rank), weights_only=True)
    random_state.load_random(folder, rank)
    progress: dict[str, Any] = found["progress"]
    return progress


def _stage(folder: Path) -> str:
    checkpoint_folder.remove_incomplete(folder.parent)
    return str(checkpoint_folder.stage(folder))


def _publish(staging: Path, folder: Path, graph: Graph, saved_by: Record) -> None:
    record.write(staging, graph, saved_by)
    checkpoint_folder.publish(staging, folder)


def _spare_file(folder: Path, rank: int) -> Path:
    return folder / f"spare-{rank:05d}.pt"
