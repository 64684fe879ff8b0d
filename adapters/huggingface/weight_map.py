"""Which tensor of a Hugging Face checkpoint is which tensor of a composed model.

Hugging Face names are those of transformers' modules in memory. Towers and projectors keep their names; the decoder has
a table (`weight_table.py`), of which its parts choose the lines.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import evolve, frozen
from torch import Tensor

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.decoder_names import renamed, unknown_names
from adapters.huggingface.rank_share import WHOLE, RankShare, Window
from adapters.huggingface.weight_operations import (
    LAYER_OPERATIONS,
    OPERATIONS,
    TRANSPOSED,
    Operation,
    Piece,
    identity,
)
from adapters.huggingface.weight_rows import Row, holds, parse, transposed
from adapters.huggingface.weight_table import DECODER, GROUPED, LAYER
from components.language.gpt_declaration import Gpt, set_names
from composer.edges.share import ShareEdge
from composer.graph import Graph, Node


@frozen
class Entry:
    """Composed tensors and the Hugging Face tensors that hold the same numbers.

    `names` are the Hugging Face names, one per piece of the operation; `aliases` other names for the only one of them.
    `split` is the dimension of the Hugging Face tensors that tensor-parallel ranks share, "E" if expert-parallel ranks
    share the experts, "E0" or "E1" if each is one expert's and expert-tensor-parallel ranks share that dimension, None
    if every rank has all; `inside` is what of each stacked expert they share (see `weight_rows.Row`).
    """

    composed: tuple[str, ...]
    names: tuple[str, ...]
    operation: Operation
    split: int | str | None = None
    aliases: tuple[str, ...] = ()
    inside: tuple[int, int] | None = None
    set_number: int = 0
    """Which set of experts it is of, the first one 0."""

    @property
    def of_experts(self) -> bool:
        """Whether expert-parallel ranks hold different parts."""
        return isinstance(self.split, str)

    def window(self, share: RankShare, piece: Piece) -> Window:
        """Which part of the Hugging Face tensor of one of its pieces a rank holds."""
        return evolve(share.window(self.split), inside=share.inside(self.inside), stretches=piece.stretches)

    def pieces(self, tensors: dict[str, Tensor]) -> dict[str, Piece]:
        """Views of the composed tensors, by Hugging Face name."""
        found = self.operation([tensors[name] for name in self.composed])
        return dict(zip(self.names, found, strict=True))


def weight_map(graph: Graph, composed: Iterable[str], share: RankShare = WHOLE) -> tuple[Entry, ...]:
    """Entries for every node that names its `weights`.

    Args:
        graph: of the model.
        composed: names of the model's parameters and persistent buffers: towers and projectors take theirs from them,
            and they show how experts are run.
        share: what of the decoder the model holds; its layers and experts are counted from 0 on each rank.
    """
    decoder = graph.decoder()
    names = tuple(composed)
    entries: list[Entry] = []
    for node in graph.nodes.values():
        if node.weights is None:
            continue
        entries += _decoder(graph, node, names, share) if node is decoder else _same_names(node, names)
    return tuple(entries)


def is_tied(graph: Graph) -> bool:
    """Whether one table embeds and scores: a share edge between two ports of the decoder."""
    decoder = graph.decoder().name
    return any(isinstance(edge, ShareEdge) and edge.source.owner == decoder for edge in graph.edges_to(decoder))


def _same_names(node: Node, composed: Sequence[str]) -> list[Entry]:
    below = [name for name in composed if name.startswith(f"{node.name}.")]
    return [Entry((name,), (f"{node.weights}{name.removeprefix(node.name)}",), identity) for name in below]


def _decoder(graph: Graph, node: Node, composed_names: Sequence[str], share: RankShare) -> list[Entry]:
    layers = node.config.layers
    facts = {"tied": is_tied(graph), "first": share.first_stage, "last": share.last_stage}
    if wrong := unknown_names(node.config):
        raise CheckpointError("the table of weights", [f"nodes.{node.name}.names: {text}" for text in wrong.values()])
    entries = list(_chosen(_as_called(parse(DECODER), node.config), facts, node.name, str(node.weights), share))
    rows = _as_called(parse(LAYER), node.config)
    if any(name.endswith(".experts.experts.linear_fc1.weight0") for name in composed_names):
        rows = tuple(_grouped(row) for row in rows)
    held = range(len(layers.names)) if share.layers is None else share.layers
    for local, index in enumerate(held):
        composed, names = f"{node.name}.decoder.layers.{local}", f"{node.weights}.layers.{index}"
        entries += _chosen(rows, layers.whole(layers.names[index]), composed, names, share)
    return entries


def _as_called(rows: Sequence[Row], section: Gpt) -> tuple[Row, ...]:
    """Lines with the names, and the way experts lie, of this family's memory."""
    changed = []
    for row in _of_sets(rows, section):
        names = tuple(tuple(renamed(name, section.names) for name in alternative) for alternative in row.names)
        called = evolve(row, names=names)
        changed.append(transposed(called) if section.transposed_experts and row.operation in TRANSPOSED else called)
    return tuple(changed)


def _of_sets(rows: Sequence[Row], section: Gpt) -> Iterator[Row]:
    """Lines that hold for every set of experts beside the first, once for each."""
    for row in rows:
        if "{s}" not in row.composed:
            yield row
            continue
        for number, name in enumerate(set_names(section), start=1):
            names = tuple(tuple(each.replace("{s}", name) for each in alternative) for alternative in row.names)
            yield evolve(row, composed=row.composed.replace("{s}", name), names=names, set_number=number)


def _grouped(row: Row) -> Row:
    """The same line where one kernel runs all experts."""
    ends = [(each, together) for each, together in GROUPED.items() if row.composed.endswith(each)]
    return evolve(row, composed=row.composed.removesuffix(ends[0][0]) + ends[0][1]) if ends else row


def _chosen(rows: Sequence[Row], part: Any, composed: str, names: str, share: RankShare) -> Iterator[Entry]:
    for row in rows:
        if holds(row.condition, part):
            yield _entry(row, part, composed, names, share)


def _entry(row: Row, part: Any, composed: str, names: str, share: RankShare) -> Entry:
    here = [f"{composed}.{row.composed}"]
    if "{e}" in row.composed:
        here = [here[0].format(e=expert) for expert in range(part.ffn.experts.num_experts // share.experts.parts)]
    first, *others = [
        tuple(name[1:] if name.startswith("/") else f"{names}.{name}" for name in alternative)
        for alternative in row.names
    ]
    of_layer = LAYER_OPERATIONS.get(row.operation)
    operation = OPERATIONS[row.operation] if of_layer is None else of_layer(part, share.tensors.parts)
    aliases = tuple(name for other in others for name in other)
    return Entry(tuple(here), first, operation, row.split, aliases, row.inside, row.set_number)
