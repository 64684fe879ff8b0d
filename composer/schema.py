"""The document as classes: what a spec may say, with a description of every field.

Components add their own section (`composer.registry`), edge kinds theirs (`composer.edges`). A field's key in the YAML
is its name unless its metadata has `key`. A field whose metadata has `merged_over` takes, from a sibling key of that
name, what all its entries have in common.
"""

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import attrs
from attrs import Attribute, field, frozen

from composer.edges import KINDS
from composer.graph import Compose, Edge, Input, Node, Stored
from composer.path import Path
from composer.registry import components
from composer.stages import FreezeStage
from composer.tree import Tree

VERSION = 1


def _described(text: str, *, default: Any = attrs.NOTHING, factory: Callable[[], Any] | None = None) -> Any:
    if factory is not None:
        return field(factory=factory, metadata={"description": text}, kw_only=True)
    return field(default=default, metadata={"description": text}, kw_only=True)


@frozen
class HfDocument:
    """The Hugging Face model that the spec stands for."""

    architecture: str | tuple[str, ...] | None = _described(
        "Model class in transformers, as in `architectures` of a config.json; or a list, of which the configuration's "
        "is used. With compose it may be null: the model can be trained and saved, but not exported.",
        default=None,
    )
    requires: str | None = _described("Version of transformers that has it, as in transformers>=5.23.", default=None)
    default: str | None = _described(
        "Configuration used when none is given: a JSON file, relative to this file or to the shipped specs.",
        default=None,
    )
    also: tuple[str, ...] = _described(
        "More configurations of other structure, files like `default`: parity and proofs make a tiny model of each.",
        default=(),
    )
    stored: Stored | None = _described(
        "How checkpoint files differ from the model in transformers' memory; null: not at all.", default=None
    )
    text: tuple[str, ...] = _described(
        "Text models that the decoder is, by the `model_type` of `text_config`; others are refused. Empty: any.",
        default=(),
    )
    compose: Compose | None = _described(
        "Instead of `default`: the configuration is put together from those of several checkpoints.", default=None
    )
    config: dict[str, Any] | None = _described(
        "The configuration itself, instead of a file; a dumped spec holds the one it was resolved against.",
        default=None,
    )


@frozen
class InputDocument:
    """A tensor the model is called with."""

    type: str = _described("What it holds: tokens, pixels, positions, sizes, features, mask; any fits all data edges.")
    shape: tuple[str | int, ...] = _described("Dimensions: a number, or a name that means one size everywhere.")
    optional: bool = _described("It may be absent; what it feeds is then not run.", default=False)


@frozen
class NodeDocument:
    """What every node says; the rest of its section is its component's configuration."""

    component: str = _described("What the node is: a registered component, as in vision.hf_tower.")
    weights: str | None = _described("Prefix of its tensors in a Hugging Face checkpoint.", default=None)
    checkpoint: str | None = _described(
        "The checkpoint its weights come from, if not the model's own: a name of `hf.compose.parts`, or a directory.",
        default=None,
    )


@frozen
class Document:
    """A composed vision-language model: inputs, nodes, and the edges between them."""

    spec: int = _described("Version of the language: 1.")
    name: str = _described("Name of the model family.")
    description: str = _described("One sentence about it.", default="")
    hf: HfDocument | None = _described("The Hugging Face model it stands for.", default=None)
    tokens: dict[str, int] = _described("Token ids by the names that edges use.", factory=dict)
    inputs: dict[str, Input] = _described("Tensors the model is called with, by name.")
    nodes: dict[str, Node] = _described("Towers, projectors and the decoder, by name.")
    edges: tuple[Edge, ...] = _described("How tensors, placeholders, masks, positions and weights connect them.")
    stages: dict[str, FreezeStage] = _described("Stages of training by name, and what trains in each.", factory=dict)


def key_of(attribute: "Attribute[Any]") -> str:
    """The key under which a field stands in the YAML."""
    key: str = attribute.metadata.get("key", attribute.name)
    return key


@cache
def fields_by_key(cls: type) -> dict[str, "Attribute[Any]"]:
    """The fields of a class of the document, by YAML key, with resolved types."""
    return {key_of(attribute): attribute for attribute in attrs.fields(attrs.resolve_types(cls)) if attribute.init}


@cache
def merged_keys(cls: type) -> dict[str, str]:
    """Keys that hold what the entries of another key have in common: `{"every": "kinds"}`."""
    return {
        attribute.metadata["merged_over"]: key
        for key, attribute in fields_by_key(cls).items()
        if "merged_over" in attribute.metadata
    }


def keys_below(root: Tree, path: Path) -> frozenset[str] | None:
    """The keys a spec may hold at a path; None where it may hold any (names, and plain configurations).

    `root` is the spec as written: which keys a node or an edge has depends on its component or kind.
    """
    expected: Any = Document
    tree: Tree | None = root
    for step in path:
        expected = _below(expected, step, tree)
        tree = tree.child(step) if tree else None
    cls = _class_of(expected, tree)
    if cls is None:
        return None
    sections: tuple[type, ...] = (cls,) + ((NodeDocument,) if expected is Node else ())
    keys = {key for section in sections for key in (*fields_by_key(section), *merged_keys(section))}
    return frozenset(keys | ({"when"} if path else set()) | ({"kind"} if expected is Edge else set()))


def _below(expected: Any, step: str | int, tree: Tree | None) -> Any:
    if (cls := _class_of(expected, tree)) is not None:
        known = fields_by_key(cls)
        key = merged_keys(cls).get(str(step))
        if key is not None:  # what the entries have in common has the keys of an entry
            return get_args(known[key].type)[-1]
        if expected is Node and step in fields_by_key(NodeDocument):
            return None
        return known[str(step)].type if step in known else None
    for member in get_args(expected) if get_origin(expected) in (Union, UnionType) else (expected,):
        if get_origin(member) in (dict, tuple, list) and get_args(member):
            return get_args(member)[-1 if get_origin(member) is dict else 0]
    return None


def _class_of(expected: Any, tree: Tree | None) -> type | None:
    if expected is Node:
        component = tree.child("component") if tree else None
        declared = components().get(component.value) if component and isinstance(component.value, str) else None
        return declared.config if declared else None
    if expected is Edge:
        kind = tree.child("kind") if tree else None
        return KINDS.get(kind.value) if kind and isinstance(kind.value, str) else None
    if expected is Input:
        return InputDocument
    members = get_args(expected) if get_origin(expected) in (Union, UnionType) else (expected,)
    return next((member for member in members if isinstance(member, type) and attrs.has(member)), None)
