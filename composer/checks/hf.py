"""Whether the configuration is of the model that a spec stands for, and names of its files are names of nodes."""

from collections.abc import Iterator

from composer.finding import Finding
from composer.graph import Graph
from composer.suggestion import suggestion

HEAD = "lm_head"
"""The output layer's name in transformers' memory, which belongs to no node's weights."""


def hf_findings(graph: Graph) -> Iterator[Finding]:
    """Another architecture, another kind of text model, names of files that no node has."""
    if graph.hf is None:
        return
    named = graph.hf_config.get("architectures") or []
    if named and graph.hf.architecture not in named:
        message = f"the configuration is of {', '.join(map(str, named))}; this spec is of {graph.hf.architecture}."
        yield Finding("hf.architecture", message)
    text = graph.hf_config.get("text_config")
    kind = text.get("model_type") if isinstance(text, dict) else None
    if graph.hf_config and graph.hf.text and kind not in graph.hf.text:
        message = f"the configuration's text model is {kind}; this spec composes {', '.join(graph.hf.text)}."
        yield Finding("hf.text", message)
    known = [prefix for name in graph.nodes for prefix in graph.weight_names(name)]
    for name in graph.hf.stored.names if graph.hf.stored else ():
        if name != HEAD and not any(_one_begins(name, weights) for weights in known):
            yield Finding(f"hf.stored.names.{name}", f"no node's weights are called so.{suggestion(name, known)}")


def _one_begins(name: str, weights: str) -> bool:
    """Whether one of two dotted names is the beginning of the other, or the same."""
    return f"{name}.".startswith(f"{weights}.") or f"{weights}.".startswith(f"{name}.")
