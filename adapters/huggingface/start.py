"""Nodes that start from checkpoints of their own: every tensor reused, grown or fresh, and what is left unused."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from attrs import field, frozen
from torch import nn

from adapters.huggingface.checkpoint import DTYPES, Stored, read_index, reading
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import rank_tensors
from adapters.huggingface.import_weights import MAPPED_BYTES, check_aliases, fill, held_as
from adapters.huggingface.names_in_source import slots_in_source
from adapters.huggingface.vocabulary import Growth, fill_grown, growth_of
from adapters.huggingface.weight_plan import Slot
from composer.graph import Graph


@frozen
class NodeStart:
    """Where one node's tensors, as far as this rank holds them, come from.

    reused: (name in the checkpoint, name in the model); grown: tables with new rows; fresh: names in the model.
    """

    node: str
    source: Path | None
    reused: tuple[tuple[str, str], ...] = ()
    grown: tuple[Growth, ...] = ()
    fresh: tuple[str, ...] = ()


@frozen
class Start:
    """Of all nodes. unused: names of tensors that no node took, by checkpoint; conversions: counts of (from, to)."""

    nodes: tuple[NodeStart, ...]
    unused: dict[Path, tuple[str, ...]]
    conversions: dict[tuple[str, str], int] = field(factory=dict)


@frozen(eq=False)
class _Taken:
    """A checkpoint's tensor for a slot."""

    node: str
    stored: Stored
    slot: Slot
    growth: Growth | None


@torch.no_grad()
def start_nodes(model: nn.Module, sources: Mapping[str, Path], *, write: bool = True) -> Start:
    """Fill the nodes that have a source; the others keep what they have.

    Reads a few MiB at a time; every rank of a layout calls this and reads its own part. Nothing is written before all
    names and shapes of all nodes fit. Tables of a vocabulary that grows get the mean of the stored rows as new rows.

    Args:
        model: an `adapters.megatron.ComposedModel`, on any device.
        sources: directories by node, see `sources_of`.
        write: False: only say what would be done.

    Raises:
        CheckpointError: lists all missing and mis-shaped tensors, and dtypes that are no weights.
    """
    graph: Graph = model.config.graph  # type: ignore[union-attr, assignment]
    by_place: dict[Path, list[str]] = defaultdict(list)
    for node, place in sources.items():
        by_place[place].append(node)
    taken, used, problems = [], {}, []
    for place, nodes in by_place.items():
        stored = read_index(place)
        used[place] = set[str]()
        for node in nodes:
            try:
                found, names = _node(model, graph, node, stored, place)
            except CheckpointError as error:
                problems += [f"{place}: {problem}" for problem in error.problems]
                continue
            taken += found
            used[place] |= names
    if problems:
        raise CheckpointError("weights", problems)
    if write:
        _fill(taken)
    unused = {place: tuple(name for name in read_index(place) if name not in used[place]) for place in by_place}
    return Start(tuple(_report(model, graph, sources, taken)), unused, _conversions(taken))


def _node(
    model: nn.Module, graph: Graph, node: str, stored: dict[str, Stored], place: Path
) -> tuple[list[_Taken], set[str]]:
    """What a node takes, and all names of it; names that other pipeline stages take are among them."""
    places = slots_in_source(model, graph, node, stored)
    problems, found = [], []
    for name, slot in places.items():
        here = next((each for each in (name, *slot.aliases) if each in stored), None)
        if here is None:
            problems.append(f"missing: {name} {list(slot.shape)} (for {slot.composed})")
            continue
        growth = growth_of(graph, slot, stored[here])
        if stored[here].shape != slot.shape and growth is None:
            shapes = f"expected {list(slot.shape)}, found {list(stored[here].shape)}"
            problems.append(f"shape: {here}: {shapes} (for {slot.composed})")
        elif stored[here].dtype not in DTYPES:
            problems.append(f"dtype: {here} is {stored[here].dtype}: expected {', '.join(DTYPES)}")
        found.append(_Taken(node, stored[here], slot, growth))
    if problems:
        raise CheckpointError(place, problems)
    alike = {
        name: slot
        for name, slot in places.items()
        if growth_of(graph, slot, stored[held_as(name, slot, stored)]) is None
    }
    check_aliases(place, stored, alike)
    return found, {other for name, slot in places.items() for other in (name, *slot.aliases) if other in stored}


def _fill(taken: list[_Taken]) -> None:
    files: dict[Path, list[_Taken]] = defaultdict(list)
    for each in taken:
        files[each.stored.file].append(each)
    for path, group in files.items():
        with reading(path, MAPPED_BYTES) as reader:
            for each in group:
                (fill if each.growth is None else fill_grown)(reader, each.stored, each.slot)


def _report(model: nn.Module, graph: Graph, sources: Mapping[str, Path], taken: list[_Taken]) -> Iterator[NodeStart]:
    tensors = rank_tensors(model)
    for node in graph.nodes:
        own = [each for each in taken if each.node == node]
        yield NodeStart(
            node,
            sources.get(node),
            tuple((each.stored.name, each.slot.composed) for each in own),
            tuple(each.growth for each in own if each.growth is not None),
            () if node in sources else tuple(name for name in tensors if name.startswith(f"{node}.")),
        )


def _conversions(taken: list[_Taken]) -> dict[tuple[str, str], int]:
    counts = Counter((each.stored.dtype, str(each.slot.dtype)) for each in taken)
    return {pair: count for pair, count in counts.items() if str(DTYPES[pair[0]]) != pair[1]}
