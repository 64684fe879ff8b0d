"""Whether the configuration is of the model that a spec stands for, and names of its files are names of nodes."""

from collections.abc import Iterator

from composer.finding import Finding
from composer.graph import Graph, HfSection, Stored
from composer.suggestion import suggestion

HEAD = "lm_head"
"""The output layer's name in transformers' memory, which belongs to no node's weights."""


def hf_findings(graph: Graph) -> Iterator[Finding]:
    """Another architecture, another kind of text model, names of files that no node has."""
    if graph.hf is None:
        return
    yield from _architecture(graph, graph.hf)
    text = graph.hf_config.get("text_config")
    kind = text.get("model_type") if isinstance(text, dict) else None
    if graph.hf_config and graph.hf.text and kind not in graph.hf.text:
        message = f"the configuration's text model is {kind}; this spec composes {', '.join(graph.hf.text)}."
        yield Finding("hf.text", message)
    stored = graph.hf.stored
    if stored is not None and stored.files == "memory" and stored != Stored(files="memory"):
        yield Finding("hf.stored.files", "with memory there is nothing else to say of files: leave the other keys out.")
    known = [prefix for name in graph.nodes for prefix in graph.weight_names(name)]
    for name in graph.hf.stored.names if graph.hf.stored else ():
        if name != HEAD and not any(_one_begins(name, weights) for weights in known):
            yield Finding(f"hf.stored.names.{name}", f"no node's weights are called so.{suggestion(name, known)}")


def _architecture(graph: Graph, hf: HfSection) -> Iterator[Finding]:
    if hf.architecture is None and hf.compose is not None:
        return  # a model that no class is
    if not hf.architectures:
        yield Finding("hf.architecture", "no class is named: the spec would stand for no model.")
        return
    ours = " or ".join(hf.architectures)
    named = graph.hf_config.get("architectures") or []
    if named and not set(hf.architectures) & set(named):
        message = f"the configuration is of {', '.join(map(str, named))}; this spec is of {ours}."
        yield Finding("hf.architecture", message)
    elif graph.hf_config and hf.architecture_of(graph.hf_config) is None:
        kind = graph.hf_config.get("model_type")
        message = f"the configuration names no architectures, and its model_type {kind} is of none of {ours}."
        yield Finding("hf.architecture", message)


def _one_begins(name: str, weights: str) -> bool:
    """Whether one of two dotted names is the beginning of the other, or the same."""
    return f"{name}.".startswith(f"{weights}.") or f"{weights}.".startswith(f"{name}.")
