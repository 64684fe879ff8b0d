"""From names and tensors in transformers' memory to those in the files of a checkpoint, as the spec's `hf.stored` says.

transformers converts while it loads and converts back while it saves; here an entry of the weight map is rewritten
instead, so that reading and writing stay views of the model.
"""

from collections.abc import Iterable, Sequence

from attrs import evolve
from torch import Tensor

from adapters.huggingface.decoder_names import renamed
from adapters.huggingface.rank_share import WHOLE, RankShare
from adapters.huggingface.weight_map import Entry, weight_map
from adapters.huggingface.weight_operations import (
    Piece,
    each_half,
    each_whole,
    stack_transposed_experts,
    stack_transposed_gate_up,
    transpose,
)
from composer.graph import Graph, Stored

ALONE = {"gate_up_proj": (("gate_proj", "up_proj"), each_half, "E0"), "down_proj": (("down_proj",), each_whole, "E1")}
"""Last word of a stacked tensor's name in memory: the tensors of each expert in the files, the operation, and the
dimension of them that expert-tensor-parallel ranks share."""


def stored_map(graph: Graph, composed: Iterable[str], share: RankShare = WHOLE) -> tuple[Entry, ...]:
    """`weight_map` with the names, and the tensors, of checkpoint files."""
    stored = graph.hf.stored if graph.hf is not None else None
    entries = weight_map(graph, composed, share)
    if stored is None:
        return entries
    return _joined([_stored(entry, stored, share) for entry in entries])


def stored_name(graph: Graph, name: str) -> str:
    """A tensor's name, or the beginning of names, in the files, from that in memory."""
    stored = graph.hf.stored if graph.hf is not None else None
    return name if stored is None else _renamed(name, stored)


def _renamed(name: str, stored: Stored) -> str:
    found = renamed(name, stored.names)
    for word, there in stored.words.items():
        found = f".{found}.".replace(f".{word}.", f".{there}.")[1:-1]
    return found


def _stored(entry: Entry, stored: Stored, share: RankShare) -> Entry:
    if entry.split == "E" and stored.experts == "each":
        entry = _each_alone(entry, share)
    elif entry.split == "E" and stored.experts == "transposed":
        entry = _transposed(entry)
    elif entry.composed[0].endswith(".router.weight") and stored.routers == "transposed":
        entry = evolve(entry, operation=transpose)
    names = tuple(_renamed(name, stored) for name in entry.names)
    return evolve(entry, names=names, aliases=tuple(_renamed(name, stored) for name in entry.aliases))


def _each_alone(entry: Entry, share: RankShare) -> Entry:
    """An entry for all experts of a layer, with a Hugging Face tensor for each of them."""
    (name,) = entry.names
    experts, _, last = name.rpartition(".")
    words, operation, split = ALONE[last]
    # Experts of the next set go on counting.
    first = (entry.set_number * share.experts.parts + share.experts.index) * len(entry.composed)
    numbers = range(first, first + len(entry.composed))
    names = tuple(f"{experts}.{number}.{word}.weight" for number in numbers for word in words)
    return Entry(entry.composed, names, operation, split)


def _transposed(entry: Entry) -> Entry:
    """An entry for all experts of a layer, whose stack lies transposed in the files, [E, H, 2I] and [E, I, H]."""
    (name,) = entry.names
    fused = name.endswith("gate_up_proj")
    operation = stack_transposed_gate_up if fused else stack_transposed_experts
    return evolve(entry, operation=operation, inside=(2, 2) if fused else (1, 1))


def _joined(entries: list[Entry]) -> tuple[Entry, ...]:
    """Tensors that get the same name in the files are one there, the rows of one behind those of the other."""
    found: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        before = found.get(entry.names)
        found[entry.names] = entry if before is None else _behind(before, entry)
    return tuple(found.values())


def _behind(first: Entry, second: Entry) -> Entry:
    count = len(first.composed)

    def operation(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
        (above,), (below,) = first.operation(composed[:count]), second.operation(composed[count:])
        return (Piece((above.shape[0] + below.shape[0], *above.shape[1:]), (*above.views, *below.views)),)

    return evolve(first, composed=(*first.composed, *second.composed), operation=operation)
