"""A small model of hand-written parts: a tower, a projector, a decoder with two layer kinds."""

from collections.abc import Iterator

import pytest
from attrs import field, frozen

from composer.edges import DataEdge, EmbedEdge, MaskEdge, PositionEdge, ScatterEdge, ShareEdge
from composer.finding import Finding
from composer.graph import Graph, Input, Node
from composer.registry import Component, Port, Ports, registered


@frozen
class Tower:
    out_dim: int
    patch_dim: int | str = "patch_dim"


@frozen
class Projector:
    in_dim: int
    out_dim: int


@frozen
class Decoder:
    hidden_size: int
    vocab_size: int
    kinds: tuple[str, ...] = field(default=("local", "global"))


def _tower_ports(config: Tower) -> Ports:
    pixels = Port("pixel_values", "pixels", ("image", "patch", config.patch_dim), origin=("", "", "patch_dim"))
    out = Port("out", "features", ("row", config.out_dim), origin=("", "out_dim"))
    return Ports({"pixel_values": pixels}, {"out": out})


def _projector_ports(config: Projector) -> Ports:
    return Ports(
        {"in": Port("in", "features", ("row", config.in_dim), origin=("", "in_dim"))},
        {"out": Port("out", "features", ("row", config.out_dim))},
    )


def _decoder_ports(config: Decoder) -> Ports:
    table = (config.vocab_size, config.hidden_size)
    hidden = ("batch", "seq", config.hidden_size)
    inputs = (
        Port("embeddings", "embeddings", hidden, origin=("", "", "hidden_size")),
        Port("attention_mask", "mask", ("batch", "seq")),
        Port("rotary", "rotary", ("batch", "seq")),
        Port("output_weight", "weight", table, required=False),
    )
    outputs = (Port("out", "logits", ("batch", "seq", config.vocab_size)), Port("embedding_weight", "weight", table))
    return Ports({port.name: port for port in inputs}, {port.name: port for port in outputs})


def _decoder_check(config: Decoder) -> Iterator[Finding]:
    if config.vocab_size < 1:
        yield Finding("vocab_size", "no words, see {0}.", ("hidden_size",))


TOWER = Component("part.tower", "tower", Tower, _tower_ports, "nowhere.tower")
PROJECTOR = Component("part.projector", "projector", Projector, _projector_ports, "nowhere.projector")
DECODER = Component(
    "part.decoder",
    "decoder",
    Decoder,
    _decoder_ports,
    "nowhere.decoder",
    layer_kinds=lambda config: config.kinds,
    check=_decoder_check,
)


@pytest.fixture
def parts() -> Iterator[None]:
    """Makes the parts known."""
    with registered(TOWER, PROJECTOR, DECODER):
        yield


@pytest.fixture
def model(parts: None) -> Graph:
    """A graph without a flaw."""
    inputs = (
        Input("input_ids", "tokens", ("batch", "seq")),
        Input("pixel_values", "pixels", ("image", "patch", "patch_dim"), optional=True),
    )
    nodes = (
        Node("tower", "part.tower", Tower(out_dim=24), "model.tower"),
        Node("projector", "part.projector", Projector(in_dim=24, out_dim=40)),
        Node("decoder", "part.decoder", Decoder(hidden_size=40, vocab_size=100)),
    )
    edges = (
        EmbedEdge("input_ids", "decoder.embeddings", scale="sqrt_hidden_size", replace=("image",)),
        DataEdge("pixel_values", "tower.pixel_values"),
        DataEdge("tower", "projector"),
        ScatterEdge("projector", "decoder.embeddings", at=("image",)),
        PositionEdge("input_ids", "decoder.rotary"),
        MaskEdge(
            "input_ids",
            "decoder.attention_mask",
            rules={"local": "(causal | same_run(image)) & window(64)", "global": "causal"},
        ),
        ShareEdge("decoder.embedding_weight", "decoder.output_weight"),
    )
    return Graph(
        name="small",
        description="A small model",
        tokens={"image": 7, "video": 8},
        inputs={given.name: given for given in inputs},
        nodes={node.name: node for node in nodes},
        edges=edges,
    )
