"""What a decoder's tensors are called in a checkpoint: names of our table, and the beginnings that `names` replaces.

No torch: a spec is told before anything heavy is imported.
"""

import re
from collections.abc import Iterator

from adapters.huggingface.weight_table import DECODER, LAYER
from components.language.gpt_declaration import Gpt, set_names
from composer.finding import Finding
from composer.graph import Graph
from composer.suggestion import suggestion

_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def alternatives(column: str) -> tuple[tuple[str, ...], ...]:
    """The names of a line: `a.{q,k} = b` is (("a.q", "a.k"), ("b",)), alternatives of one name per piece."""
    return tuple(_expand(name.strip()) for name in column.split("="))


def _expand(name: str) -> tuple[str, ...]:
    found = _BRACES.search(name)
    if found is None:
        return (name,)
    return tuple(name[: found.start()] + item + name[found.end() :] for item in found[1].split(","))


def renamed(name: str, beginnings: dict[str, str]) -> str:
    """A name, or the beginning of names, with the longest fitting beginning replaced."""
    fitting = [prefix for prefix in beginnings if name == prefix or name.startswith(f"{prefix}.")]
    longest = max(fitting, key=len, default=None)
    return name if longest is None else beginnings[longest] + name.removeprefix(longest)


def unknown_names(section: Gpt) -> dict[str, str]:
    """Keys of `names` that no name of the table begins with, and what is wrong with each.

    They would be ignored, and the wrong name be looked for. Lines of parts that this model does not have count: a spec
    has other models too.
    """
    known = {
        name.replace("{s}", each)
        for table in (DECODER, LAYER)
        for name in _names(table)
        for each in (set_names(section) if "{s}" in name else ("",))
    }
    beginnings = {".".join(name.split(".")[:length]) for name in known for length in range(1, name.count(".") + 2)}
    return {
        key: f"no name in our table begins with {key!r}.{suggestion(key, beginnings)}"
        for key in section.names
        if key not in beginnings
    }


def _names(table: str) -> Iterator[str]:
    for line in table.splitlines():
        if "|" in line:
            for pieces in alternatives(line.split("|")[1]):
                yield from pieces


def names_findings(graph: Graph) -> list[Finding]:
    """The same of the decoders of a graph, each at its key."""
    return [
        Finding(f"nodes.{node.name}.names", text, key=("nodes", node.name, "names", key))
        for node in graph.nodes.values()
        if isinstance(node.config, Gpt)
        for key, text in unknown_names(node.config).items()
    ]
