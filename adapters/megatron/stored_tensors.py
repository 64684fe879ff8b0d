"""Whether a checkpoint holds exactly the tensors that a layout of a model asks for."""

from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.state_dict_utils import load_preprocess
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from torch import distributed

from adapters.huggingface.checkpoint_error import CheckpointError

Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Global shape and dtype of each tensor by its name."""


def check_tensors(folder: Path, wanted: dict[str, Any]) -> None:
    """Compare what all ranks ask for with what is stored; every rank calls it.

    Args:
        folder: a complete checkpoint.
        wanted: sharded state dicts of this rank; without `optimizer`, stored tensors of an optimizer may be left over.

    Raises:
        CheckpointError: names every tensor that is missing, surplus, or of another shape or dtype; on every rank.
    """
    ours = _of_all_ranks(_shapes(load_preprocess(wanted)[0]))
    theirs = _shapes(dist_checkpointing.load_tensors_metadata(str(folder)))
    if "optimizer" not in wanted:
        theirs = {name: shape for name, shape in theirs.items() if not name.startswith("optimizer.")}
    problems = [f"missing: {name} {_shown(ours[name])}" for name in sorted(ours.keys() - theirs.keys())]
    problems += [f"surplus: {name} {_shown(theirs[name])}" for name in sorted(theirs.keys() - ours.keys())]
    problems += [
        f"{name}: expected {_shown(ours[name])}, found {_shown(theirs[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    if problems:
        raise CheckpointError(folder, problems)


def _shapes(tensors: dict[str, Any]) -> Shapes:
    return {
        tensor.key: (tuple(tensor.global_shape), str(tensor.dtype).removeprefix("torch."))
        for tensor in nested_values(tensors)
        if isinstance(tensor, ShardedTensor)
    }


def _of_all_ranks(shapes: Shapes) -> Shapes:
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, shapes)
    return {name: shape for each in found for name, shape in each.items()}


def _shown(shape: tuple[tuple[int, ...], str]) -> str:
    return f"{list(shape[0])} {shape[1]}"
