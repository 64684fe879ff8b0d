"""The graph: what a spec or a builder describes, resolved and typed."""

from collections import defaultdict
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any, Literal

from attrs import field, frozen

from composer.edges import Edge, Ref
from composer.origins import Origins
from composer.registry import Component, Ports, components
from composer.stages import FreezeStage

__all__ = ["Compose", "Edge", "Graph", "HfSection", "Input", "Node", "Ref", "Stored"]

OUT = "out"
IN = "in"


@frozen
class Input:
    """A tensor the model is called with. `optional`: it may be absent, and what it feeds is then not run."""

    name: str
    type: str
    shape: tuple[str | int, ...]
    optional: bool = False


@frozen
class Node:
    """A component with its configuration. `weights` is the prefix of its tensors in a Hugging Face checkpoint.

    `checkpoint` is where its weights come from, if not from the model's own: a part of `hf.compose`, or a directory.
    """

    name: str
    component: str
    config: Any
    weights: str | None = None
    checkpoint: str | None = None


@frozen
class Stored:
    """How the files of a checkpoint differ from the model in transformers' memory."""

    files: Literal["published", "memory"] = field(
        default="published",
        metadata={
            "description": "published: names and tensors of the checkpoint that was published. memory: those of "
            "transformers' memory (its `save_pretrained(save_original_format=False)`), where the published ones "
            "differ by more than can be said here."
        },
    )
    names: dict[str, str] = field(
        factory=dict,
        metadata={
            "description": "Beginnings of names in memory, each with what stands there in the files; the longest that "
            "fits is taken."
        },
    )
    words: dict[str, str] = field(
        factory=dict,
        metadata={
            "description": "Dotted words anywhere inside names in memory, each with what stands there in the files."
        },
    )
    experts: Literal["stacked", "each", "transposed"] = field(
        default="stacked",
        metadata={
            "description": "stacked: all experts of a layer in one tensor, gate and up together, as in memory. each: "
            "gate_proj, up_proj and down_proj of every expert. transposed: in one tensor, [E, H, 2I] and [E, I, H]. "
            "Files that hold such a tensor the other way round are read too."
        },
    )
    routers: Literal["plain", "transposed"] = field(
        default="plain",
        metadata={"description": "plain: [E, H] of a layer's router, as in memory. transposed: [H, E]."},
    )


@frozen
class Compose:
    """The configuration of a model that no checkpoint is, put together from others'."""

    parts: dict[str, str] = field(
        metadata={
            "description": "Sections of the configuration, each with whose it is: a JSON file like `default`, a "
            "checkpoint's directory or hub id; its section of the same name, or the one after #, or all of it."
        }
    )
    own: dict[str, Any] = field(factory=dict, metadata={"description": "Fields beside the parts."})
    new_tokens: tuple[str, ...] = field(
        default=(),
        metadata={
            "description": "Fields that hold ids of new tokens: the first ones behind the vocabulary of `text_config`, "
            "which grows. Their rows start as the mean of the others."
        },
    )
    vocab_multiple: int = field(
        default=1,
        metadata={"description": "With new_tokens: the vocabulary is filled up with spare rows to a multiple of this."},
    )


@frozen
class HfSection:
    """The Hugging Face model classes a spec stands for, the version they need, their configurations, and files."""

    architecture: str | tuple[str, ...] | None = None
    requires: str | None = None
    default: str | None = None
    also: tuple[str, ...] = ()
    stored: Stored | None = None
    text: tuple[str, ...] = ()
    compose: Compose | None = None

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes, as a tuple."""
        if self.architecture is None:
            return ()
        return (self.architecture,) if isinstance(self.architecture, str) else self.architecture

    def architecture_of(self, config: dict[str, Any]) -> str | None:
        """The class that a configuration is of: the only one, or by `architectures`, or by `model_type`."""
        if len(self.architectures) == 1:
            return self.architectures[0]
        named = config.get("architectures") or []
        kind = str(config.get("model_type", "")).replace("_", "")
        found = [name for name in self.architectures if name in named]
        # As transformers names its classes: qwen3_vl_moe, Qwen3VLMoeForConditionalGeneration.
        found += [name for name in self.architectures if not named and name.partition("For")[0].lower() == kind]
        return found[0] if found else None


@frozen
class Graph:
    """Inputs, nodes and the edges between them, and stages of training if the spec names some.

    `hf_config` is the plain dict the spec was resolved against, empty if there is none. `origins`, of a graph that was
    read from a file, knows where everything was written; it does not count in comparisons. Nothing is checked on
    construction: see `check`.
    """

    name: str
    description: str = ""
    hf: HfSection | None = None
    tokens: dict[str, int] = field(factory=dict)
    inputs: dict[str, Input] = field(factory=dict)
    nodes: dict[str, Node] = field(factory=dict)
    edges: tuple[Edge, ...] = field(default=(), converter=tuple)
    hf_config: dict[str, Any] = field(factory=dict)
    stages: dict[str, FreezeStage] = field(factory=dict)
    origins: Origins | None = field(default=None, eq=False, repr=False)

    @property
    def architecture(self) -> str | None:
        """The Hugging Face model class of the graph's configuration; None if there is none."""
        return None if self.hf is None else self.hf.architecture_of(self.hf_config)

    @cached_property
    def _ends(self) -> dict[str, tuple[Edge, ...]]:
        return _grouped(self.edges, lambda edge: edge.target.owner)

    @cached_property
    def _starts(self) -> dict[str, tuple[Edge, ...]]:
        return _grouped(self.edges, lambda edge: edge.source.owner)

    def edges_to(self, node: str, port: str | None = None) -> tuple[Edge, ...]:
        """The edges that end at a node, or at one of its ports, in the order of the spec."""
        ends = self._ends.get(node, ())
        return ends if port is None else tuple(edge for edge in ends if (edge.target.port or IN) == port)

    def edges_from(self, owner: str) -> tuple[Edge, ...]:
        """The edges that start at an input or a node, in the order of the spec."""
        return self._starts.get(owner, ())

    def order(self) -> tuple[str, ...]:
        """Node names, each after the nodes it reads from.

        Raises:
            graphlib.CycleError: there is no such order.
        """
        return tuple(name for generation in self.generations() for name in generation)

    def generations(self) -> tuple[tuple[str, ...], ...]:
        """Node names in layers: each layer reads from earlier ones only.

        Raises:
            graphlib.CycleError: there are no such layers.
        """
        sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(self.nodes, ()))
        for edge in self.edges:
            if edge.orders and edge.source.owner in self.nodes and edge.target.owner in self.nodes:
                sorter.add(edge.target.owner, edge.source.owner)
        sorter.prepare()
        rank = {name: number for number, name in enumerate(self.nodes)}
        layers = []
        while sorter.is_active():
            layer = tuple(sorted(sorter.get_ready(), key=rank.__getitem__))
            sorter.done(*layer)
            layers.append(layer)
        return tuple(layers)

    def component(self, node: str) -> Component:
        """The component of a node.

        Raises:
            KeyError: no such node or component.
        """
        return components()[self.nodes[node].component]

    def ports(self, node: str) -> Ports:
        """The ports of a node, from its configuration."""
        return self.component(node).ports(self.nodes[node].config)

    def weight_names(self, node: str) -> tuple[str, ...]:
        """Beginnings of the names of a node's tensors in transformers' memory, or the names themselves."""
        weights = self.nodes[node].weights
        if weights is None:
            return ()
        known = components().get(self.nodes[node].component)
        if known is None or known.tensors is None:
            return (weights,)
        return tuple(f"{weights}.{tensor}" for tensor in known.tensors(self.nodes[node].config))

    def decoder(self) -> Node:
        """The one node whose component has the role decoder.

        Raises:
            LookupError: there is none, or more than one.
        """
        known = components()
        found = [
            node for node in self.nodes.values() if node.component in known and known[node.component].role == "decoder"
        ]
        if len(found) != 1:
            raise LookupError(f"{self.name} has {len(found)} decoders; exactly one is expected")
        return found[0]

    def check(self) -> None:
        """Check everything that can be known without building.

        Raises:
            SpecError: with all problems at once.
        """
        from composer.checks import problems
        from composer.errors import SpecError

        if found := problems(self):
            raise SpecError(found)


def _grouped(edges: tuple[Edge, ...], key: Any) -> dict[str, tuple[Edge, ...]]:
    groups: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        groups[key(edge)].append(edge)
    return {owner: tuple(group) for owner, group in groups.items()}
