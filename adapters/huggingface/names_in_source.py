"""How a checkpoint of another model calls the tensors of one node: below which prefix, and by whose names.

A tower's tensors lie at the root of its own checkpoint, below `vision_model` in one of a pair of towers, below
`vision_tower` in a vision-language model's; a decoder's below `model`. Where is found out by their names alone.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from attrs import evolve
from torch import nn

from adapters.huggingface.checkpoint import Stored as StoredTensor
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.loaded_names import renamed_by
from adapters.huggingface.weight_plan import Slot, slots
from components.hf_config import to_hf_config
from composer.graph import Graph, HfSection, Stored

HERE = "@"
"""Stands for the prefix while it is being looked for."""
ANCHORS = 40
"""So many of a node's tensors are looked for to find where it may be; all of them decide."""


def slots_in_source(model: nn.Module, graph: Graph, node: str, stored: dict[str, StoredTensor]) -> dict[str, Slot]:
    """What a rank holds of one node, by the names in a checkpoint; a name that is not there is what it should be.

    Args:
        model: the composed model, or one rank's part of it.
        graph: of the model.
        node: its name.
        stored: what the checkpoint holds.

    Raises:
        CheckpointError: none of the node's tensors is there, or as many in several places.
    """
    files = Stored(experts="each" if any(".experts.0." in name for name in stored) else "stacked")
    unplaced = slots(model, _only(graph, node, HERE, files))
    if not unplaced:
        return {}
    wanted = [name.removeprefix(f"{HERE}.") for name in unplaced if name.startswith(f"{HERE}.")]
    prefix = _prefix(node, wanted, stored)
    found = {_below(prefix, name): slot for name, slot in unplaced.items()}
    strange = [name for name in found if name not in stored and not any(each in stored for each in found[name].aliases)]
    old = _older_names(graph, node, prefix, stored, strange) if strange else {}
    return {
        old.get(name) or _at_root(name, prefix, stored): _with_aliases(slot, prefix, stored)
        for name, slot in found.items()
    }


def _only(graph: Graph, node: str, weights: str, files: Stored) -> Graph:
    """The graph in which one node alone has names in a checkpoint."""
    nodes = {name: evolve(each, weights=weights if name == node else None) for name, each in graph.nodes.items()}
    return evolve(graph, nodes=nodes, hf=evolve(graph.hf or HfSection(), stored=files))


def _prefix(node: str, wanted: Collection[str], stored: Collection[str]) -> str:
    candidates = {
        name[: -len(anchor)].rstrip(".")
        for anchor in list(wanted)[:ANCHORS]
        for name in stored
        if name == anchor or name.endswith(f".{anchor}")
    }
    counts = Counter({each: sum(_join(each, name) in stored for name in wanted) for each in candidates})
    (best, most), *others = counts.most_common(2) or [("", 0)]
    if most == 0:
        raise CheckpointError("weights", [f"holds no tensor of {node}, such as …{next(iter(wanted))}"])
    if others and others[0][1] == most:
        raise CheckpointError("weights", [f"{node} may be {best or 'the root'} or {others[0][0] or 'the root'}"])
    return best


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _below(prefix: str, name: str) -> str:
    return _join(prefix, name.removeprefix(f"{HERE}.")) if name.startswith(f"{HERE}.") else name


def _at_root(name: str, prefix: str, stored: Collection[str]) -> str:
    """A name counted from the root, such as the output layer's, where a checkpoint holds it deeper."""
    if name in stored or name.startswith(f"{prefix}." if prefix else ""):
        return name
    deeper = [each for each in stored if each.endswith(f".{name}")]
    return deeper[0] if len(deeper) == 1 else name


def _with_aliases(slot: Slot, prefix: str, stored: Collection[str]) -> Slot:
    return evolve(slot, aliases=tuple(_at_root(_below(prefix, name), prefix, stored) for name in slot.aliases))


def _older_names(
    graph: Graph, node: str, prefix: str, stored: Collection[str], strange: Iterable[str]
) -> dict[str, str]:
    """Names in the files, by names that transformers would read them as."""
    config: Any = getattr(graph.nodes[node].config, "config", None)
    if not isinstance(config, dict):
        return {}
    missing = set(strange)
    below = [name.removeprefix(f"{prefix}.") for name in stored if not prefix or name.startswith(f"{prefix}.")]
    renamed = renamed_by(_meta_tower(config), below)
    return {_join(prefix, new): _join(prefix, old) for old, new in renamed.items() if _join(prefix, new) in missing}


def _meta_tower(config: dict[str, Any]) -> Any:
    import torch
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(to_hf_config(config))
