"""From a composed model to a directory that transformers loads: config.json, safetensors, and an index of shards."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from adapters.huggingface.checkpoint import INDEX, SINGLE
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.export_form import export_problems
from adapters.huggingface.export_plan import Held, Planned, offers, plan
from adapters.huggingface.export_stream import Stream
from adapters.huggingface.ranks import Ranks, all_ranks
from adapters.huggingface.safetensors_writer import file_order, write_safetensors
from adapters.huggingface.unfinished import Unfinished
from adapters.huggingface.weight_plan import fresh_nodes, has_weights
from components.hf_config import to_hf_config
from composer.graph import Graph

Shard = dict[str, Planned]


def export_weights(
    stages: nn.Module | Sequence[nn.Module],
    target_dir: str | Path,
    *,
    max_shard_bytes: int = 5 * 10**9,
    overwrite: bool = False,
    alone: bool = False,
) -> Path:
    """Write a composed model as a Hugging Face checkpoint, in the dtypes it has, a few MiB at a time.

    In a parallel layout every rank calls this, and rank 0 writes: the same files, byte for byte, as one rank would.
    They appear whole or not at all. Beside its model a rank holds one block at a time, rank 0 one block and a part.

    Args:
        stages: an `adapters.megatron.ComposedModel`, on any device, or this rank's virtual pipeline stages in order.
        target_dir: made if absent; only rank 0 needs to see it.
        max_shard_bytes: a file is closed before it grows beyond this, unless one tensor alone is larger. One file needs
            no index.
        overwrite: replace weights that are there already.
        alone: this rank holds the whole model and other ranks do not take part.

    Returns:
        `target_dir`; `from_pretrained` of the spec's architecture reads it.

    Raises:
        CheckpointError: on all ranks, whichever it concerns: weights are there already; the spec has no Hugging Face
            configuration; a node has no `weights`, so that its tensors have no name in a checkpoint; a part of a tensor
            is on no rank; or something went wrong on another rank.
        OSError: with one rank, as the file system raises it.
    """
    target_dir = Path(target_dir)
    models = [stages] if isinstance(stages, nn.Module) else list(stages)
    graph: Graph = models[0].config.graph  # type: ignore[union-attr, assignment]
    with all_ranks(alone) as ranks:
        with ranks.together(target_dir):
            _check(graph, models, target_dir)
            offered, held = offers(models, copies=ranks.size == 1)
        given, shards = ranks.gather(offered), None
        with ranks.together(target_dir):
            if ranks.rank == 0:
                shards = _shards(plan(graph, given), max_shard_bytes)
        _write(graph, ranks.from_first(shards), held, ranks, (target_dir, overwrite))
    return target_dir


def _check(graph: Graph, models: Sequence[nn.Module], target_dir: Path) -> None:
    problems = [
        f"node {name} has no `weights`: its tensors have no names"
        for name in fresh_nodes(graph)
        if any(has_weights(model, name) for model in models)
    ]
    if graph.hf is None or not graph.hf_config:
        problems.append("the spec has no `hf` section or no configuration: there is no config.json to write")
    elif graph.hf.compose is not None or not graph.hf.architectures:
        problems += [problem for problem in export_problems(graph) if problem not in problems]
    if problems:
        raise CheckpointError(target_dir, problems)


def _shards(tensors: Sequence[Planned], max_shard_bytes: int) -> dict[str, Shard]:
    """What each file holds, in the order of the file."""
    shards: list[Shard] = [{}]
    size = 0
    for planned in tensors:
        if shards[-1] and size + planned.bytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][planned.name] = planned
        size += planned.bytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    return dict(zip(names, shards, strict=True))


def _write(graph: Graph, shards: dict[str, Shard], held: Held, ranks: Ranks, target: tuple[Path, bool]) -> None:
    """All files; what went wrong is known on every rank after each of them."""
    unfinished = None
    try:
        with ranks.together(target[0]):
            if ranks.rank == 0:
                unfinished = Unfinished(*target)
        for name, shard in shards.items():
            order = [shard[tensor] for tensor in file_order(shard)]
            with ranks.together(target[0]), Stream(ranks, order, held).draining() as blocks:
                if unfinished is not None:
                    write_safetensors(unfinished.folder / name, shard, blocks)
        with ranks.together(target[0]):
            if unfinished is not None:
                _write_index(shards, unfinished.folder)
                _write_config(graph, shards, unfinished.folder)
                unfinished.finish()
    except BaseException:
        if unfinished is not None:
            unfinished.discard()
        raise


def _write_config(graph: Graph, shards: dict[str, Shard], folder: Path) -> None:
    config = to_hf_config(graph.hf_config)
    config.architectures = [str(graph.architecture)]
    dtypes = Counter(planned.dtype for shard in shards.values() for planned in shard.values())
    ((config.dtype, _),) = dtypes.most_common(1)
    config.save_pretrained(folder)


def _write_index(shards: dict[str, Shard], folder: Path) -> None:
    if len(shards) == 1:
        return
    places = {tensor: name for name, shard in shards.items() for tensor in shard}
    total = sum(planned.bytes for shard in shards.values() for planned in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
