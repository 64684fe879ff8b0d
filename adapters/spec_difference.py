"""Where the spec of a checkpoint differs from that of a model."""

from collections.abc import Iterator
from typing import Any

import yaml

from composer import Graph, dump

SECTIONS = ("tokens", "inputs", "nodes", "edges")
"""What decides tensors and what they mean; a name or description may change."""
ABSENT = "nothing"


def differences(stored: str, graph: Graph) -> list[str]:
    """One line for each value that differs, `nodes.projector.out_dim: the checkpoint has 64, the model 56`.

    Args:
        stored: the dump of the checkpoint's graph.
        graph: of the model.
    """
    theirs, ours = yaml.safe_load(stored), yaml.safe_load(dump(graph))
    return [line for section in SECTIONS for line in _compare(section, theirs.get(section), ours.get(section))]


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys((*theirs, *ours)):
            yield from _compare(f"{path}.{key}", theirs.get(key, ABSENT), ours.get(key, ABSENT))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _compare(f"{path}[{index}]", *pair)
    elif theirs != ours:
        yield f"{path}: the checkpoint has {_shown(theirs)}, the model {_shown(ours)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(value)}}}"
    return str(value)
