"""Checkpoints of older layouts: names that transformers would rename while loading, renamed the same way.

Files written by earlier versions of transformers call tensors differently; only transformers knows how. Its model is
built on the meta device, and only if a checkpoint has names that the weight map does not know.
"""

from collections.abc import Collection, Iterable
from typing import Any

from adapters.huggingface.checkpoint import Stored
from adapters.huggingface.stored_layout import stored_name
from components.hf_config import to_hf_config
from composer.graph import Graph


def under_known_names(
    graph: Graph, stored: dict[str, Stored], known: Collection[str], prefixes: tuple[str, ...]
) -> dict[str, Stored]:
    """What a checkpoint holds, by the names of the weight map.

    Args:
        graph: of the model.
        stored: by the names in the files.
        known: names that a model of this graph, whole, has in files.
        prefixes: beginnings of more such names.

    Returns:
        The same tensors in their order. A name that transformers does not turn into a known one, or that is taken,
        stays as it is.
    """
    strange = [name for name in stored if name not in known and not name.startswith(prefixes)]
    if not strange or graph.hf is None:
        return stored
    renamed = _as_loaded(graph, strange)
    found: dict[str, Stored] = {}
    for name, tensor in stored.items():
        ours = renamed.get(name, name)
        fits = (ours in known or ours.startswith(prefixes)) and ours not in stored and ours not in found
        found[ours if fits else name] = tensor
    return found


def _as_loaded(graph: Graph, names: Iterable[str]) -> dict[str, str]:
    """Names in our files, by names that transformers reads as the same tensors."""
    import torch
    import transformers

    architecture: Any = getattr(transformers, str(graph.architecture), None)
    if architecture is None:
        return {}
    with torch.device("meta"):
        model = architecture(to_hf_config(graph.hf_config))
    return {name: stored_name(graph, memory) for name, memory in renamed_by(model, names).items()}


def renamed_by(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Names in memory, by names in files, as transformers renames them while it loads `model`.

    Source: transformers 5.23 core_model_loading.py, `convert_and_load_state_dict_in_model`.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [each for each in get_model_conversion_mapping(model) if isinstance(each, WeightRenaming)]
    in_memory = model.state_dict()
    return {name: rename_source_key(name, renamings, [], model.base_model_prefix, in_memory)[0] for name in names}
