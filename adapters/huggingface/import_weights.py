"""From a Hugging Face checkpoint into a composed model: streamed, complete, or an error that says everything."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from adapters.huggingface.checkpoint import DTYPES, RowReader, Stored, read_index, reading
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.loaded_names import under_known_names
from adapters.huggingface.part_hints import part_hints
from adapters.huggingface.rank_share import share_of
from adapters.huggingface.weight_plan import Slot, fresh_nodes, has_weights, held_elsewhere, slots
from composer.graph import Graph
from composer.graph import Stored as StoredNames

BLOCK_BYTES = 4 * 2**20
MAPPED_BYTES = 16 * 2**20


@frozen
class Imported:
    """What an import did: tensors of the checkpoint used, their bytes, and how many changed dtype (from, to).

    `fresh` are nodes that have weights but no name for them in the spec: they keep what they had.
    """

    tensors: int
    bytes: int
    conversions: dict[tuple[str, str], int]
    fresh: tuple[str, ...] = ()


@torch.no_grad()
def import_weights(model: nn.Module, source_dir: str | Path) -> Imported:
    """Fill the parameters and persistent buffers of a composed model from a checkpoint directory.

    Every tensor of the checkpoint is used exactly once; names of an older layout are read as transformers reads them.
    Values are converted from the checkpoint's dtype to the
    parameter's; nodes without `weights` in the spec keep what they have, and are named in the result. Nothing is
    written before all names and shapes fit. Reads a few MiB at a time: beside the model's own memory there is never a
    second copy of a tensor. In a parallel layout every rank calls this and reads only its own rows, columns, experts
    and layers.

    Args:
        model: an `adapters.megatron.ComposedModel`, on any device.
        source_dir: holds `model.safetensors`, or shards and `model.safetensors.index.json`.

    Raises:
        CheckpointError: lists all missing, surplus and mis-shaped tensors and dtypes that are no weights; pickles are
            refused.
    """
    source_dir = Path(source_dir)
    places = slots(model)
    graph: Graph = model.config.graph  # type: ignore[union-attr, assignment]
    others = held_elsewhere(graph, share_of(model))
    known = {other for name, slot in places.items() for other in (name, *slot.aliases)} | others[0]
    stored = under_known_names(graph, read_index(source_dir), known, others[1])
    if (other := _turned(graph, places, stored)) is not None:
        places = slots(model, other)
    if problems := list(_problems(stored, places, *others)):
        hints = part_hints(graph, stored) if share_of(model).is_whole else ()
        raise CheckpointError(source_dir, [*(f"look at {hint}" for hint in hints), *problems])
    used = {held_as(name, slot, stored): slot for name, slot in places.items()}
    check_aliases(source_dir, stored, places)
    for path, names in _by_file(used, stored).items():
        with reading(path, MAPPED_BYTES) as reader:
            for name in names:
                fill(reader, stored[name], used[name])
    changed = Counter((stored[name].dtype, str(slot.dtype)) for name, slot in used.items())
    return Imported(
        tensors=sum(name in stored for place, slot in places.items() for name in (place, *slot.aliases)),
        bytes=sum(path.stat().st_size for path in {item.file for item in stored.values()}),
        conversions={pair: count for pair, count in changed.items() if str(DTYPES[pair[0]]) != pair[1]},
        fresh=tuple(name for name in fresh_nodes(graph) if has_weights(model, name)),
    )


def _turned(graph: Graph, places: dict[str, Slot], stored: dict[str, Stored]) -> Graph | None:
    """The graph for files that hold stacks of experts the other way round than the spec says; None: they do not.

    transformers, too, goes by the shapes: released files of a model may lie otherwise than those that it writes.
    """
    said = graph.hf.stored if graph.hf is not None and graph.hf.stored is not None else StoredNames()
    other = {"stacked": "transposed", "transposed": "stacked"}.get(said.experts)
    stacks = [(slot.shape, stored[name].shape) for name, slot in places.items() if slot.of_experts and name in stored]
    turned = [found == (*shape[:-2], shape[-1], shape[-2]) != shape for shape, found in stacks if len(shape) == 3]
    if other is None or graph.hf is None or not any(turned):
        return None
    return evolve(graph, hf=evolve(graph.hf, stored=evolve(said, experts=other)))


def _problems(
    stored: dict[str, Stored], places: dict[str, Slot], elsewhere: set[str], prefixes: tuple[str, ...]
) -> Iterator[str]:
    known = {other: name for name, slot in places.items() for other in (name, *slot.aliases)}
    for name, slot in places.items():
        if not any(other in stored for other in (name, *slot.aliases)):
            yield f"missing: {name} {list(slot.shape)} (for {slot.composed})"
    for name, found in stored.items():
        if name not in known:
            if name not in elsewhere and not name.startswith(prefixes):
                yield f"surplus: {name} {list(found.shape)}"
        elif found.shape != (expected := places[known[name]].shape):
            place = places[known[name]].composed
            yield f"shape: {name}: expected {list(expected)}, found {list(found.shape)} (for {place})"
        elif found.dtype not in DTYPES:
            yield f"dtype: {name} is {found.dtype}: quantized weights are not read, expected {', '.join(DTYPES)}"


def held_as(name: str, slot: Slot, stored: dict[str, Stored]) -> str:
    """Under which of its names a checkpoint holds a tensor."""
    return next(other for other in (name, *slot.aliases) if other in stored)


def check_aliases(source_dir: Path, stored: dict[str, Stored], places: dict[str, Slot]) -> None:
    """A tensor that the checkpoint holds under two names must be the same under both: only one of them is read."""
    problems = []
    for name, slot in places.items():
        first, *others = [other for other in (name, *slot.aliases) if other in stored]
        problems += [
            f"{other} differs from {first}, but the model has one tensor for both ({slot.composed})"
            for other in others
            if not _same(first, other, stored, slot)
        ]
    if problems:
        raise CheckpointError(source_dir, problems)


def _same(first: str, other: str, stored: dict[str, Stored], slot: Slot) -> bool:
    one, two = stored[first], stored[other]
    with reading(one.file, MAPPED_BYTES) as left, reading(two.file, MAPPED_BYTES) as right:
        return all(torch.equal(left.rows(one, index), right.rows(two, index)) for index, _ in _blocks(slot))


def _by_file(used: dict[str, Slot], stored: dict[str, Stored]) -> dict[Path, list[str]]:
    files: dict[Path, list[str]] = defaultdict(list)
    for name in used:
        files[stored[name].file].append(name)
    return files


def fill(reader: RowReader, stored: Stored, slot: Slot) -> None:
    """Copy what a rank holds of a stored tensor into the model, converted."""
    for index, view in _blocks(slot):
        view.copy_(reader.rows(stored, index).reshape(view.shape).to(view.dtype))


def _blocks(slot: Slot) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
    """A few MiB at a time: where they are in the Hugging Face tensor, and where in the model."""
    matrix = slot.matrix
    for place, view in slot.places():
        for first, last in matrix.blocks(place.first, place.last, BLOCK_BYTES // slot.dtype.itemsize):
            yield (
                matrix.index(first, last, place.left, place.right),
                view[first - place.first : last - place.first],
            )
