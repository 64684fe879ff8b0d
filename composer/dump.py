"""A graph as a spec with everything resolved: what `load` reads back to an equal graph."""

from typing import Any

from composer.emit import emit
from composer.encode import encode, encode_graph
from composer.graph import Graph
from composer.path import Path


def dump(graph: Graph, *, origin: bool = False) -> str:
    """YAML text of a graph.

    Args:
        graph: from `load` or a builder.
        origin: put behind each value where it came from: `file:line`, the configuration's field, the option that set
            it, `default`; `builder` throughout for a graph that was not read from a file.
    """

    def comment(path: Path) -> str | None:
        if not origin:
            return None
        return "builder" if graph.origins is None else graph.origins.origin(path) or "default"

    return emit(encode_graph(graph), comment, _sub_configs(graph))


def _sub_configs(graph: Graph) -> dict[str, Any]:
    """The sections of the configuration, which nodes usually repeat as a whole."""
    return {
        name: encode(section)
        for name, section in graph.hf_config.items()
        if isinstance(section, dict) and name.isidentifier() and name.endswith("_config")
    }
