"""What a checkpoint's layers have and the spec's do not, or the other way round, said as keys of the spec."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from adapters.huggingface.fitting_parts import fit
from adapters.huggingface.stored_layout import stored_name
from composer.finding import Finding
from composer.graph import Graph

OF_AN_EXPERT = re.compile(r"experts\.\d+\.(gate_proj|up_proj|down_proj)\.weight")
STACKS = {"gate_proj": "experts.gate_up_proj", "up_proj": "experts.gate_up_proj", "down_proj": "experts.down_proj"}


def part_hints(graph: Graph, stored: Collection[str]) -> Iterator[str]:
    """`place: path: what to say there`, once for each kind of layers; nothing where the names fit no known parts.

    Args:
        graph: of the model.
        stored: names in the files of a whole checkpoint.
    """
    findings = [finding for finding in _findings(graph, stored) if finding]
    if graph.origins is None:
        yield from (f"{finding.path}: {finding.message}" for finding in findings)
    else:
        yield from (problem.headline() for problem in graph.origins.problems(findings))


def _findings(graph: Graph, stored: Collection[str]) -> Iterator[Finding]:
    decoder = graph.decoder()
    layers = decoder.config.layers
    for name in dict.fromkeys(layers.names):
        index = layers.names.index(name)
        prefix = stored_name(graph, f"{decoder.weights}.layers.{index}") + "."
        found = {_in_memory(each.removeprefix(prefix)) for each in stored if each.startswith(prefix)}
        if not found:
            continue
        fitted, part = fit(found, decoder.config.names), layers.whole(name)
        kind, _, ffn = name.partition("/")
        for path in fitted.paths:
            right, said = fitted.settings.get(path), _said(part, path)
            if not path.startswith("ffn") or not ffn:
                where = f"nodes.{decoder.name}.layers.kinds.{kind}.{path}"
            else:
                where = f"nodes.{decoder.name}.layers.ffns.{ffn}.{path.removeprefix('ffn.')}"
            if right and right != said and (right is not True or not said):
                message = f"the checkpoint's layers have {fitted.because[path]}. Say {_words(right)}."
                yield Finding(where, message)
            elif said and not right and path in fitted.reached and path != "ffn.branch_norms":
                yield Finding(where, "it asks for tensors that the checkpoint's layers lack. Leave it out.")


def _in_memory(name: str) -> str:
    """Experts that are stored one by one have one name together in memory."""
    return OF_AN_EXPERT.sub(lambda found: STACKS[found[1]], name)


def _said(part: Any, path: str) -> str | bool:
    """What the spec says; a section that is there is True."""
    value = part
    for name in path.split("."):
        value = getattr(value, name, None)
    return value if isinstance(value, str | bool) and value != "none" else bool(value not in (None, "none", {}, ()))


def _words(value: str | bool) -> str:
    return "it (true, or its section)" if value is True else str(value)
