"""Graphs in Python: the same document as in YAML, said in calls."""

from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any, Self

import attrs

from composer.checks import findings
from composer.decode import Collector
from composer.document import read_document
from composer.edges import Ref
from composer.errors import Problem, SpecError
from composer.graph import Graph, HfSection
from composer.masks import RULES
from composer.origins import renumber
from composer.schema import VERSION, fields_by_key
from composer.tree import Tree

_HERE = "<builder>"


class Builder:
    """Collects a graph, part by part; every method but `check` returns the builder.

    Values are as in YAML, or Python's own: tuples, mask rules, references, configurations of components. A key that is
    a word of Python takes an underscore: `class_="Gemma4MultimodalEmbedder"`. There is nothing to interpolate: write
    `hf_config["text_config"]["hidden_size"]`, and `if` for `when`.

        graph = (
            Builder("gemma4_vl", hf="Gemma4ForConditionalGeneration", hf_config=config)
            .tokens(image=config["image_token_id"])
            .input("input_ids", "tokens", ["batch", "seq"])
            .node("vision_tower", "vision.hf_tower", weights="model.vision_tower", config=config["vision_config"], ...)
            .edge("scatter", "embed_vision", "language_model.embeddings", at=["image"])
            .check()
        )
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        *,
        hf: HfSection | Mapping[str, Any] | str | None = None,
        hf_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a graph.

        Args:
            name: of the model family.
            description: one sentence.
            hf: the Hugging Face model it stands for; a text is its class.
            hf_config: the plain configuration the values come from, kept with the graph.
        """
        self._hf_config = dict(hf_config or {})
        self._document: dict[str, Any] = {"spec": VERSION, "name": name, "description": description}
        if hf is not None:
            self._document["hf"] = _plain({"architecture": hf} if isinstance(hf, str) else hf)
        self._document |= {"tokens": {}, "inputs": {}, "nodes": {}, "edges": []}
        self._problems: list[Problem] = []

    def tokens(self, **ids: int) -> Self:
        """Name token ids."""
        for name, token in ids.items():
            self._add("tokens", name, token)
        return self

    def input(self, name: str, type: str, shape: Sequence[str | int], optional: bool = False) -> Self:  # noqa: A002
        """A tensor the model is called with."""
        return self._add("inputs", name, {"type": type, "shape": list(shape), "optional": optional})

    def node(self, name: str, component: str, /, *, weights: str | None = None, **config: Any) -> Self:
        """A tower, a projector or the decoder; `config` is its component's section, and `checkpoint` if it has one."""
        return self._add("nodes", name, {"component": component, "weights": weights, **_section(config)})

    def edge(self, kind: str, source: str | Ref, target: str | Ref, /, **fields: Any) -> Self:
        """A connection from an input, a node or node.output to node.input."""
        edge = {"kind": kind, "from": str(source), "to": str(target), **_section(fields)}
        self._document["edges"].append(edge)
        return self

    def stage(self, name: str, trains: Sequence[str], **fields: Any) -> Self:
        """A stage of training and the selectors of what trains in it; `fields` as in `composer.stages.FreezeStage`."""
        self._document.setdefault("stages", {})
        return self._add("stages", name, {"trains": list(trains), **_section(fields)})

    def check(self) -> Graph:
        """The graph, if nothing is wrong with it.

        Raises:
            SpecError: with everything that is, by path.
        """
        collector = Collector()
        reading = read_document(_tree(self._document), collector)
        problems = [*self._problems, *(Problem(None, found.path, found.message) for found in collector.problems)]
        for finding in findings(reading.graph) if reading.checkable else ():
            if not reading.doubts(finding):
                found = renumber(finding, reading.edge_numbers)
                problems.append(Problem(None, found.path, found.text()))
        if problems:
            raise SpecError(problems)
        return attrs.evolve(reading.graph, hf_config=self._hf_config)

    def _add(self, section: str, name: str, value: Any) -> Self:
        if name in self._document[section]:
            self._problems.append(Problem(None, f"{section}.{name}", f"{name} is declared twice."))
        self._document[section][name] = value
        return self


def _plain(value: Any) -> Any:
    """Python's own values as a document has them."""
    if isinstance(value, (Ref, *RULES)):
        return str(value)
    cls: type = type(value)
    if attrs.has(cls):
        return {key: _plain(getattr(value, field.name)) for key, field in fields_by_key(cls).items()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _section(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key.rstrip("_") if iskeyword(key.rstrip("_")) else key: _plain(item) for key, item in arguments.items()}


def _tree(value: Any) -> Tree:
    if isinstance(value, dict):
        value = {key: _tree(item) for key, item in value.items()}
    elif isinstance(value, list):
        value = [_tree(item) for item in value]
    return Tree(value, _HERE, 1, 1)
