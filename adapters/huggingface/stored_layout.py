"""From names and tensors in transformers' memory to those in the files of a checkpoint, as the spec's `hf.stored` says.

transformers converts while it loads and converts back while it saves; here an entry of the weight map is rewritten
instead, so that reading and writing stay views of the model.
"""

from collections.abc import Iterable

from attrs import evolve

from adapters.huggingface.rank_share import WHOLE, RankShare
from adapters.huggingface.weight_map import Entry, renamed, weight_map
from adapters.huggingface.weight_operations import (
    each_half,
    each_whole,
    stack_transposed_experts,
    stack_transposed_gate_up,
)
from composer.graph import Graph, Stored

ALONE = {"gate_up_proj": (("gate_proj", "up_proj"), each_half), "down_proj": (("down_proj",), each_whole)}
"""Last word of a stacked tensor's name in memory: the tensors of each expert in the files, and the operation."""


def stored_map(graph: Graph, composed: Iterable[str], share: RankShare = WHOLE) -> tuple[Entry, ...]:
    """`weight_map` with the names, and the tensors, of checkpoint files."""
    stored = graph.hf.stored if graph.hf is not None else None
    entries = weight_map(graph, composed, share)
    if stored is None:
        return entries
    return tuple(_stored(entry, stored, share) for entry in entries)


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
    names = tuple(_renamed(name, stored) for name in entry.names)
    return evolve(entry, names=names, aliases=tuple(_renamed(name, stored) for name in entry.aliases))


def _each_alone(entry: Entry, share: RankShare) -> Entry:
    """An entry for all experts of a layer, with a Hugging Face tensor for each of them."""
    (name,) = entry.names
    experts, _, last = name.rpartition(".")
    words, operation = ALONE[last]
    first = share.experts.index * len(entry.composed)
    numbers = range(first, first + len(entry.composed))
    names = tuple(f"{experts}.{number}.{word}.weight" for number in numbers for word in words)
    assert entry.inside is not None
    # An expert's own tensor has one dimension fewer than the stack.
    return Entry(entry.composed, names, operation, f"E{entry.inside[0] - 1}")


def _transposed(entry: Entry) -> Entry:
    """An entry for all experts of a layer, whose stack lies transposed in the files, [E, H, 2I] and [E, I, H]."""
    (name,) = entry.names
    fused = name.endswith("gate_up_proj")
    operation = stack_transposed_gate_up if fused else stack_transposed_experts
    return evolve(entry, operation=operation, inside=(2, 2) if fused else (1, 1))
