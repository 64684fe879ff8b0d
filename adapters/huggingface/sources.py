"""Which checkpoint each node's weights come from: as the spec says, or whoever starts the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from adapters.huggingface.checkpoint_error import CheckpointError
from composer.graph import Graph
from composer.suggestion import suggestion


def sources_of(graph: Graph, given: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Directories by node; a node that is not there starts fresh.

    Args:
        graph: its nodes may name a `checkpoint`: a directory, or a part of `hf.compose`, whose source may be one. A
            part whose source is a configuration alone gives no weights.
        given: directories by node, which come before what the spec says.

    Raises:
        CheckpointError: a node that the graph does not have, or a directory that is not there.
    """
    given = given or {}
    problems = [f"there is no node {name}.{suggestion(name, graph.nodes)}" for name in given if name not in graph.nodes]
    found = {name: given.get(name) or _named(graph, node.checkpoint) for name, node in graph.nodes.items()}
    problems += [f"{name}: no directory {path}" for name, path in found.items() if path and not path.is_dir()]
    if problems:
        raise CheckpointError("weights", problems)
    return {name: path for name, path in found.items() if path is not None}


def _named(graph: Graph, checkpoint: str | None) -> Path | None:
    if checkpoint is None:
        return None
    parts = graph.hf.compose.parts if graph.hf and graph.hf.compose else {}
    if checkpoint in parts:
        place = Path(parts[checkpoint].partition("#")[0]).expanduser()
        return place if place.is_dir() else None
    return Path(checkpoint).expanduser()


def parse_sources(texts: Iterable[str]) -> tuple[Path | None, dict[str, Path]]:
    """`--weights`: one directory for the whole model, or `node=directory` each.

    Raises:
        CheckpointError: both, or a node or the whole model twice.
    """
    whole: Path | None = None
    nodes: dict[str, Path] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if equals and name.isidentifier():
            if name in nodes:
                raise CheckpointError("weights", [f"{name} has two checkpoints: {nodes[name]} and {place}"])
            nodes[name] = Path(place).expanduser()
        elif whole is not None:
            raise CheckpointError("weights", [f"the whole model has two checkpoints: {whole} and {text}"])
        else:
            whole = Path(text).expanduser()
    if whole is not None and nodes:
        raise CheckpointError("weights", [f"{whole} is for the whole model: name the node of each, as in node={whole}"])
    return whole, nodes
