"""The inventory of a graph: made once with torch on the meta device, then read from disk without it."""

import contextlib
import hashlib
from importlib.metadata import version
from pathlib import Path

from adapters.huggingface.config_cache import cache_dir, write_whole
from adapters.plans import inventory_file
from composer.graph import Graph
from composer.plans.content import content_hash
from composer.plans.inventory import Inventory

LIBRARIES = ("vlm-composer", "torch", "megatron-core", "transformers")
"""Another version of one of these may build other parameters, or compute otherwise."""


def inventory(graph: Graph) -> Inventory:
    """Every parameter of a checked graph, and what its towers and projectors cost.

    The first time it takes seconds and imports torch, Megatron-Core and transformers; the answer is kept in the cache
    directory of configurations (`$XDG_CACHE_HOME/vlm-composer`) and read from there afterwards.

    Raises:
        BuildError: the graph cannot be built.
    """
    path = cached_at(graph)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # no such file, or not one of ours
        return inventory_file.from_json(path.read_text(encoding="utf-8"))
    from adapters.plans.making import make_inventory
    from adapters.plans.meta_model import alone

    text = inventory_file.to_json(alone(make_inventory, graph))
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_whole(path, text)
    return inventory_file.from_json(text)


def cached_at(graph: Graph) -> Path:
    """The file that holds the inventory of a graph, or will."""
    made_by = [f"{name} {version(name)}" for name in LIBRARIES]
    key = "\n".join([str(inventory_file.FORM), *made_by, content_hash(graph)])
    return cache_dir() / "inventories" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
