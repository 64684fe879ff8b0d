"""Whether a composition can be written as the model class that its spec names, and if not, what is in the way.

Shipped families are what their class is; a model that is put together from parts (`hf.compose`) may be anything. What
such a class computes is written down here, from transformers' source, so that a spec is told in a fraction of a second;
that what passes is right is what `parity` measures. No torch.
"""

from collections.abc import Callable, Iterator
from typing import Any

from composer.edges import DataEdge, EmbedEdge, InjectEdge, MaskEdge, PositionEdge, ScatterEdge
from composer.finding import Finding
from composer.graph import Graph, Node

TOWER, PROJECTOR, DECODER = "model.vision_tower", "model.multi_modal_projector", "model.language_model"
DEFAULTS: dict[str, Any] = {
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "projector_hidden_act": "gelu",
    "multimodal_projector_bias": True,
    "image_token_index": 32000,
}
"""What transformers 5.23 models/llava/configuration_llava.py assumes where a configuration says nothing."""


def export_findings(graph: Graph) -> list[Finding]:
    """Everything that keeps a graph from being exported, by path; empty if nothing known here does."""
    if graph.hf is None or not graph.hf_config:
        return [Finding("hf", "there is no configuration, so there is no config.json to write.")]
    if not graph.hf.architectures:
        return [Finding("hf", "no architecture is named: an export is some class of transformers.")]
    unnamed = [
        Finding(f"nodes.{node.name}", "has no `weights`: its tensors have no names in a checkpoint.")
        for node in graph.nodes.values()
        if node.weights is None
    ]
    form = FORMS.get(graph.architecture or "") if graph.hf.compose is not None else None
    return [*unnamed, *(() if form is None else form(graph))]


def export_problems(graph: Graph) -> list[str]:
    """The same as lines for people, with places where the graph was read from a file."""
    found = export_findings(graph)
    if graph.origins is None:
        return [f"{finding.path}: {finding.text()}" for finding in found]
    return [f"{problem.location}: {problem.path}: {problem.message}" for problem in graph.origins.problems(found)]


def _one_tower_two_linears(graph: Graph) -> Iterator[Finding]:
    """A tower, two linear layers, a causal decoder; one kind of placeholder.

    Source: transformers 5.23 models/llava/modeling_llava.py.
    """
    config = DEFAULTS | graph.hf_config
    roles: dict[str, list[Node]] = {}
    for node in graph.nodes.values():
        roles.setdefault(graph.component(node.name).role, []).append(node)
    for role in ("tower", "projector"):
        found = roles.get(role, [])
        if not found:
            yield Finding("nodes", f"there is no {role}; the class has one.")
        for node in found[1:]:
            message = f"a second {role} ({{0}}); the class has one."
            yield Finding(f"nodes.{node.name}", message, (f"nodes.{found[0].name}",))
        if len(found) != 1:
            return
    tower, projector, decoder = roles["tower"][0], roles["projector"][0], graph.decoder()
    for node, weights in ((tower, TOWER), (projector, PROJECTOR), (decoder, DECODER)):
        if node.weights not in (weights, None):
            yield Finding(f"nodes.{node.name}.weights", f"the class calls it {weights}.")
    yield from _tower(tower, config)
    yield from _projector(projector, config)
    yield from _edges(graph, tower, config)


def _tower(tower: Node, config: dict[str, Any]) -> Iterator[Finding]:
    path, section = f"nodes.{tower.name}", tower.config
    if section.config != config.get("vision_config"):
        yield Finding(f"{path}.config", "is not the configuration's vision_config, which the class makes its tower of.")
    layers = getattr(section.hidden_states, "layers", None)
    wanted = config["vision_feature_layer"]
    if layers != (tuple(wanted) if isinstance(wanted, list) else wanted):
        taken = f"output {section.output}" if layers is None else f"hidden states {layers}"
        yield Finding(path, f"takes {taken}; the class takes hidden states {wanted} (vision_feature_layer).")


def _projector(projector: Node, config: dict[str, Any]) -> Iterator[Finding]:
    path, section = f"nodes.{projector.name}", projector.config
    if projector.component == "projector.hf_module":
        if section.class_name != "LlavaMultiModalProjector":
            yield Finding(f"{path}.class", "the class has LlavaMultiModalProjector: two linear layers.")
        return
    if projector.component != "projector.mlp":
        yield Finding(f"{path}.component", "the class has two linear layers: projector.mlp.")
        return
    if section.depth != 2:
        yield Finding(f"{path}.depth", f"{section.depth} linear layers; the class has 2.")
    if section.norm != "none":
        yield Finding(f"{path}.norm", "the class has none.")
    for key, field in (("activation", "projector_hidden_act"), ("bias", "multimodal_projector_bias")):
        given = getattr(section, key)
        if given != config[field]:
            yield Finding(f"{path}.{key}", f"{_yaml(given)}; the configuration says {field}: {_yaml(config[field])}.")


def _edges(graph: Graph, tower: Node, config: dict[str, Any]) -> Iterator[Finding]:
    for number, edge in enumerate(graph.edges):
        path = f"edges[{number}]"
        match edge:
            case DataEdge() if edge.source.owner == tower.name:
                drops = config["vision_feature_select_strategy"] == "default"
                if [pack.drop_first for pack in edge.pack] != ([1] if drops else []):
                    words = "drops the first row of an item" if drops else "takes rows as they are"
                    yield Finding(path, f"the class {words} and does nothing else (vision_feature_select_strategy).")
            case ScatterEdge():
                if [graph.tokens[name] for name in edge.at] != [config["image_token_index"]]:
                    yield Finding(f"{path}.at", f"the class has one placeholder, {config['image_token_index']}.")
                if edge.mode != "replace" or edge.interrupted:
                    yield Finding(path, "the class replaces embeddings one after the other.")
            case InjectEdge():
                yield Finding(path, "the class adds nothing between layers.")
            case EmbedEdge() if edge.scale != 1 or edge.replace:
                yield Finding(path, "the class looks embeddings up, and does nothing else.")
            case PositionEdge() if edge.offset:
                yield Finding(f"{path}.offset", "the class counts from 0.")
            case MaskEdge():
                wrong = [kind for kind, rule in edge.rules.items() if str(rule) != "causal"]
                for kind in wrong if config["text_config"].get("sliding_window") is None else ():
                    yield Finding(f"{path}.rules.{kind}", "the class masks causally.")


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


FORMS: dict[str, Callable[[Graph], Iterator[Finding]]] = {"LlavaForConditionalGeneration": _one_tower_two_linears}
"""By model class: what does not fit it."""
