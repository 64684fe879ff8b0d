"""From a composed model to a directory that transformers loads: config.json, safetensors, and an index of shards."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from adapters.huggingface.checkpoint import INDEX, SINGLE
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.safetensors_writer import Planned, write_safetensors
from adapters.huggingface.weight_operations import Piece
from adapters.huggingface.weight_plan import slots
from components.hf_config import to_hf_config
from composer.graph import Graph, Node

BLOCK_BYTES = 4 * 2**20


def export_weights(
    model: nn.Module, target_dir: str | Path, *, max_shard_bytes: int = 5 * 10**9, overwrite: bool = False
) -> Path:
    """Write a composed model as a Hugging Face checkpoint, in the dtypes it has, a few MiB at a time.

    Args:
        model: an `adapters.megatron.ComposedModel`, on any device.
        target_dir: made if absent.
        max_shard_bytes: a file is closed before it grows beyond this, unless one tensor alone is larger. One file needs
            no index.
        overwrite: replace weights that are there already.

    Returns:
        `target_dir`; `from_pretrained` of the spec's architecture reads it.

    Raises:
        CheckpointError: weights are there already; the spec has no Hugging Face configuration; or a node has no
            `weights`, so that its tensors have no name in a checkpoint.
    """
    target_dir = Path(target_dir)
    graph: Graph = model.config.graph  # type: ignore[union-attr, assignment]
    problems = [f"node {node.name} has no `weights`: its tensors have no names" for node in _unnamed(graph, model)]
    if graph.hf is None or not graph.hf_config:
        problems.append("the spec has no `hf` section or no configuration: there is no config.json to write")
    if problems:
        raise CheckpointError(target_dir, problems)
    composed_tensors(model)  # refuses one rank of several
    tensors = {name: _planned(slot.piece) for name, slot in slots(model).items()}
    target_dir.mkdir(parents=True, exist_ok=True)
    _make_room(target_dir, overwrite)
    _write_config(graph, tensors, target_dir)
    _write_shards(_shards(tensors, max_shard_bytes), target_dir)
    return target_dir


def _unnamed(graph: Graph, model: nn.Module) -> list[Node]:
    return [
        node
        for node in graph.nodes.values()
        if node.weights is None and any(True for _ in getattr(model, node.name, nn.Module()).parameters())
    ]


def _planned(piece: Piece) -> Planned:
    return Planned(piece.shape, piece.views[0].dtype, partial(_rows, piece))


def _rows(piece: Piece) -> Iterator[Tensor]:
    return (view for view, _, _ in piece.blocks(BLOCK_BYTES))


def _make_room(target_dir: Path, overwrite: bool) -> None:
    """Old shards beside new ones would be read again, or confuse whoever lists the directory."""
    old = sorted([*target_dir.glob("model*.safetensors"), *target_dir.glob(INDEX)])
    if old and not overwrite:
        raise CheckpointError(target_dir, [f"holds weights already ({old[0].name}, …); choose another or overwrite"])
    for path in old:
        path.unlink()


def _write_config(graph: Graph, tensors: dict[str, Planned], target_dir: Path) -> None:
    assert graph.hf is not None
    config = to_hf_config(graph.hf_config)
    config.architectures = [graph.hf.architecture]
    dtypes = [planned.dtype for planned in tensors.values()]
    config.dtype = max(set(dtypes), key=dtypes.count)
    config.save_pretrained(target_dir)


def _shards(tensors: dict[str, Planned], max_shard_bytes: int) -> list[dict[str, Planned]]:
    shards: list[dict[str, Planned]] = [{}]
    size = 0
    for name, planned in tensors.items():
        if shards[-1] and size + planned.bytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = planned
        size += planned.bytes
    return shards


def _write_shards(shards: list[dict[str, Planned]], target_dir: Path) -> None:
    if len(shards) == 1:
        write_safetensors(target_dir / SINGLE, shards[0])
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(target_dir / file, shard)
        places |= dict.fromkeys(shard, file)
    total = sum(planned.bytes for shard in shards for planned in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (target_dir / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
