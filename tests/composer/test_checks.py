"""One slip, one finding, at the right path: the exact words."""

from collections.abc import Callable, Iterable

import pytest
from attrs import evolve

from composer.checks import findings
from composer.edges import DataEdge, Edge, EmbedEdge, MaskEdge, PositionEdge, ScatterEdge, ShareEdge
from composer.finding import Finding
from composer.graph import Graph, Input, Node
from composer.registry import Component, Port, Ports, registered
from tests.composer.conftest import Decoder, Projector, Tower

EMBED, PIXELS, FEATURES, SCATTER, POSITION, MASK, SHARE = range(7)
RULES = {"local": "causal", "global": "causal"}


def without(graph: Graph, *numbers: int) -> Graph:
    return evolve(graph, edges=[edge for number, edge in enumerate(graph.edges) if number not in numbers])


def instead(graph: Graph, number: int, edge: Edge) -> Graph:
    return evolve(graph, edges=[edge if i == number else old for i, old in enumerate(graph.edges)])


def plus(graph: Graph, *edges: Edge) -> Graph:
    return evolve(graph, edges=(*graph.edges, *edges))


def nodes(graph: Graph, *changed: Node) -> Graph:
    return evolve(graph, nodes=graph.nodes | {node.name: node for node in changed})


def inputs(graph: Graph, *changed: Input) -> Graph:
    return evolve(graph, inputs=graph.inputs | {given.name: given for given in changed})


def said(graph: Graph) -> list[str]:
    return [f"{finding.path}: {finding.text()}" for finding in findings(graph)]


def test_a_sound_graph_has_no_findings(model: Graph) -> None:
    assert findings(model) == []
    assert findings(without(model, SHARE)) == [], "weights need not be tied"


SLIPS: dict[str, tuple[Callable[[Graph], Graph], Iterable[str]]] = {
    "missing node": (
        lambda g: instead(g, FEATURES, DataEdge("tower", "projecter")),
        ["edges[2].to: no node 'projecter'. Did you mean 'projector'?"],
    ),
    "missing owner": (
        lambda g: instead(g, PIXELS, DataEdge("pixel_value", "tower.pixel_values")),
        ["edges[1].from: no input or node 'pixel_value'. Did you mean 'pixel_values'?"],
    ),
    "missing input port": (
        lambda g: instead(g, POSITION, PositionEdge("input_ids", "decoder.rotari")),
        ["edges[4].to: decoder has no input 'rotari'. Did you mean 'rotary'?"],
    ),
    "missing output port": (
        lambda g: instead(g, FEATURES, DataEdge("tower.features", "projector")),
        ["edges[2].from: tower has no output 'features'. Known: out."],
    ),
    "port of an input": (
        lambda g: instead(g, PIXELS, DataEdge("pixel_values.out", "tower.pixel_values")),
        ["edges[1].from: pixel_values is an input of the spec and has no port 'out'."],
    ),
    "edge to an input": (
        lambda g: plus(g, DataEdge("tower", "pixel_values")),
        ["edges[7].to: pixel_values is an input of the spec (inputs.pixel_values); edges end at nodes."],
    ),
    "no port meant": (
        lambda g: plus(g, DataEdge("pixel_values", "tower")),
        ["edges[7].to: tower has no input 'in'. Known: pixel_values."],
    ),
    "cycle": (
        lambda g: plus(
            nodes(g, Node("second", "part.projector", Projector(in_dim=24, out_dim=24))),
            DataEdge("second", "second"),
        ),
        ["nodes.second: no edge reads its output.", "edges[7]: a cycle: second -> second."],
    ),
    "dimension": (
        lambda g: nodes(g, Node("projector", "part.projector", Projector(in_dim=25, out_dim=40))),
        ["nodes.projector.in_dim: 25 does not fit tower.out [row, 24] (nodes.tower.out_dim). Set in_dim: 24."],
    ),
    "dimension of an output": (
        lambda g: nodes(g, Node("projector", "part.projector", Projector(in_dim=24, out_dim=41))),
        ["nodes.decoder.hidden_size: 40 does not fit projector.out [row, 41] (nodes.projector). Set hidden_size: 41."],
    ),
    "dimension through a name": (
        lambda g: plus(
            nodes(
                g,
                Node("tower", "part.tower", Tower(out_dim=24, patch_dim=12)),
                Node("second", "part.tower", Tower(out_dim=40, patch_dim=14)),
            ),
            DataEdge("pixel_values", "second.pixel_values"),
            ScatterEdge("second", "decoder.embeddings", at=["video"]),
        ),
        [
            (
                "nodes.second.patch_dim: 14 does not fit pixel_values [image, patch, 12] (nodes.tower.patch_dim). "
                "Set patch_dim: 12."
            )
        ],
    ),
    "dimension of two inputs by one name": (
        lambda g: plus(
            nodes(
                inputs(g, Input("depth", "pixels", ("image", "patch", "patch_dim"))),
                Node("tower", "part.tower", Tower(out_dim=24, patch_dim=12)),
                Node("second", "part.tower", Tower(out_dim=40, patch_dim=14)),
            ),
            DataEdge("depth", "second.pixel_values"),
            ScatterEdge("second", "decoder.embeddings", at=["video"]),
        ),
        [
            (
                "nodes.second.patch_dim: 14 does not fit depth [image, patch, 12] (nodes.tower.patch_dim). "
                "Set patch_dim: 12."
            )
        ],
    ),
    "one name in two nodes": (
        lambda g: plus(
            nodes(
                inputs(
                    g,
                    Input("pixel_values", "pixels", ("image", 9, "patch_dim")),
                    Input("depth", "pixels", ("image", 16, "patch_dim")),
                ),
                Node("second", "part.tower", Tower(out_dim=40)),
            ),
            DataEdge("depth", "second.pixel_values"),
            ScatterEdge("second", "decoder.embeddings", at=["video"]),
        ),
        [],
    ),
    "weights handed over instead of shared": (
        lambda g: instead(g, SHARE, DataEdge("decoder.embedding_weight", "decoder.output_weight")),
        [
            "edges[6].to: a data edge carries no weight. Use kind: share.",
            "edges[6]: a cycle: decoder -> decoder.",
        ],
    ),
    "number of dimensions": (
        lambda g: inputs(g, Input("pixel_values", "pixels", ("image", 3))),
        [
            (
                "edges[1].to: tower.pixel_values has 3 dimensions [image, patch, patch_dim], "
                "but pixel_values has 2 [image, 3]."
            )
        ],
    ),
    "dimension of an input": (
        lambda g: evolve(
            inputs(g, Input("pixel_values", "pixels", ("image", "patch", 12))),
            nodes=g.nodes | {"tower": Node("tower", "part.tower", Tower(out_dim=24, patch_dim=14))},
        ),
        [
            (
                "nodes.tower.patch_dim: 14 does not fit pixel_values [image, patch, 12] "
                "(inputs.pixel_values.shape[2]). Set patch_dim: 12."
            )
        ],
    ),
    "type of a tensor": (
        lambda g: inputs(g, Input("pixel_values", "tokens", ("image", "patch", "patch_dim"))),
        ["edges[1].to: tower.pixel_values takes pixels, but pixel_values is tokens."],
    ),
    "features handed over instead of scattered": (
        lambda g: instead(g, SCATTER, DataEdge("projector", "decoder.embeddings")),
        [
            "edges[3].to: decoder.embeddings takes embeddings, but projector.out is features. Use kind: scatter.",
            "edges[3].to: decoder.embeddings has two writers: edges[0] writes it too.",
        ],
    ),
    "mask of pixels": (
        lambda g: instead(g, MASK, MaskEdge("pixel_values", "decoder.attention_mask", rules=RULES)),
        ["edges[5].from: a mask edge starts at tokens, but pixel_values is pixels."],
    ),
    "share something that is no weight": (
        lambda g: instead(g, SHARE, ShareEdge("decoder.embedding_weight", "decoder.rotary")),
        [
            "edges[6].to: a share edge ends at weight, but decoder.rotary takes rotary.",
            "edges[6].to: decoder.rotary has two writers: edges[4] writes it too.",
        ],
    ),
    "two writers": (
        lambda g: plus(g, EmbedEdge("input_ids", "decoder.embeddings")),
        ["edges[7].to: decoder.embeddings has two writers: edges[0] writes it too."],
    ),
    "no mask": (
        lambda g: without(g, MASK),
        [
            (
                "nodes.decoder: nothing writes its input attention_mask. "
                "Add an edge {kind: mask, to: decoder.attention_mask}."
            )
        ],
    ),
    "no positions": (
        lambda g: without(g, POSITION),
        ["nodes.decoder: nothing writes its input rotary. Add an edge {kind: position, to: decoder.rotary}."],
    ),
    "nothing to scatter into": (
        lambda g: without(g, EMBED),
        [
            (
                "edges[2].to: nothing writes decoder.embeddings before this edge. "
                "Add an edge {kind: embed, to: decoder.embeddings}."
            )
        ],
    ),
    "no data": (
        lambda g: without(g, FEATURES),
        [
            "nodes.projector: nothing writes its input in. Add an edge {kind: data, to: projector.in}.",
            "nodes.tower: no edge reads its output.",
        ],
    ),
    "unread input": (
        lambda g: inputs(g, Input("sound", "pixels", ("sample",))),
        ["inputs.sound: no edge reads this input."],
    ),
    "unread output": (lambda g: without(g, SCATTER), ["nodes.projector: no edge reads its output."]),
    "unknown token in a rule": (
        lambda g: instead(
            g, MASK, MaskEdge("input_ids", "decoder.attention_mask", rules=RULES | {"local": "~same_run(imge)"})
        ),
        ["edges[5].rules.local: unknown token 'imge' in ~same_run(imge). Did you mean 'image'?"],
    ),
    "unknown token to scatter at": (
        lambda g: instead(g, SCATTER, ScatterEdge("projector", "decoder.embeddings", at=["image", "vidio"])),
        ["edges[3].at[1]: unknown token 'vidio'. Did you mean 'video'?"],
    ),
    "unknown token to replace": (
        lambda g: instead(g, EMBED, EmbedEdge("input_ids", "decoder.embeddings", replace=["sound"])),
        ["edges[0].replace[0]: unknown token 'sound'. Known: image, video."],
    ),
    "scatter at nothing": (
        lambda g: instead(g, SCATTER, ScatterEdge("projector", "decoder.embeddings", at=[])),
        ["edges[3].at: no token is named: without placeholders the features go nowhere."],
    ),
    "scatter twice at one token": (
        lambda g: instead(g, SCATTER, ScatterEdge("projector", "decoder.embeddings", at=["image", "image"])),
        ["edges[3].at[1]: image is named twice."],
    ),
    "two scatter edges at one token": (
        lambda g: plus(g, ScatterEdge("projector", "decoder.embeddings", at=["video", "image"])),
        ["edges[7].at[1]: image is filled by another scatter edge already (edges[3].at[0])."],
    ),
    "three scatter edges": (
        lambda g: plus(
            g,
            ScatterEdge("projector", "decoder.embeddings", at=["video"]),
            ScatterEdge("projector", "decoder.embeddings", at=["image"]),
        ),
        ["edges[8].at[0]: image is filled by another scatter edge already (edges[3].at[0])."],
    ),
    "two tokens of one id": (
        lambda g: plus(
            evolve(g, tokens={"image": 7, "video": 7}), ScatterEdge("projector", "decoder.embeddings", at=["video"])
        ),
        [
            "tokens.video: 7 is the id of image too (tokens.image).",
            (
                "edges[7].at[0]: video (same token id as image) is filled by another scatter edge "
                "already (edges[3].at[0])."
            ),
        ],
    ),
    "scatter mode": (
        lambda g: instead(g, SCATTER, ScatterEdge("projector", "decoder.embeddings", at=["image"], mode="ad")),
        ["edges[3].mode: unknown mode 'ad'. Did you mean 'add'?"],
    ),
    "scale": (
        lambda g: instead(g, EMBED, EmbedEdge("input_ids", "decoder.embeddings", scale="sqrt", row=-1)),
        [
            "edges[0].scale: a number or sqrt_hidden_size is expected, not 'sqrt'.",
            "edges[0].row: -1 is no row of a table: 0 or more is expected.",
        ],
    ),
    "position rule": (
        lambda g: instead(g, POSITION, PositionEdge("input_ids", "decoder.rotary", rule="arrange")),
        ["edges[4].rule: unknown position rule 'arrange'. Did you mean 'arange'?"],
    ),
    "rule for no layer, and none for a layer": (
        lambda g: instead(
            g, MASK, MaskEdge("input_ids", "decoder.attention_mask", rules={"local": "causal", "globl": "causal"})
        ),
        [
            "edges[5].rules.globl: decoder has no layers of kind 'globl'. Did you mean 'global'?",
            "edges[5].rules: no rule for the global layers of decoder.",
        ],
    ),
    "unknown component": (
        lambda g: nodes(g, evolve(g.nodes["tower"], component="part.tour")),
        ["nodes.tower.component: unknown component 'part.tour'. Did you mean 'part.tower'?"],
    ),
    "configuration that could not be read": (lambda g: nodes(g, evolve(g.nodes["tower"], config=None)), []),
    "what a component says of itself": (
        lambda g: nodes(without(g, SHARE), Node("decoder", "part.decoder", Decoder(hidden_size=40, vocab_size=0))),
        ["nodes.decoder.vocab_size: no words, see nodes.decoder.hidden_size."],
    ),
    "one name for two things": (
        lambda g: evolve(g, inputs=g.inputs | {"tower": Input("tower", "pixels", ("image",))}, edges=g.edges),
        ["nodes.tower: tower is an input of the spec too (inputs.tower)."],
    ),
    "no decoder": (
        lambda g: evolve(
            without(g, EMBED, SCATTER, POSITION, MASK, SHARE),
            nodes={name: node for name, node in g.nodes.items() if name != "decoder"},
        ),
        [
            "nodes: no decoder. Add a node whose component is one: language.gpt, part.decoder.",
            "inputs.input_ids: no edge reads this input.",
            "nodes.projector: no edge reads its output.",
        ],
    ),
    "two decoders": (
        lambda g: plus(
            nodes(g, Node("second", "part.decoder", Decoder(hidden_size=40, vocab_size=100))),
            EmbedEdge("input_ids", "second.embeddings"),
            PositionEdge("input_ids", "second.rotary"),
            MaskEdge("input_ids", "second.attention_mask", rules=RULES),
        ),
        ["nodes.second: a second decoder: decoder is one (nodes.decoder), and a model has one."],
    ),
}


@pytest.mark.parametrize(("change", "expected"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_is_found(model: Graph, change: Callable[[Graph], Graph], expected: list[str]) -> None:
    assert said(change(model)) == expected


def test_a_cycle_is_named_where_it_closes(model: Graph) -> None:
    chain = [Node(name, "part.projector", Projector(in_dim=24, out_dim=24)) for name in "abc"]
    steps = [DataEdge("b", "c"), DataEdge("a", "b"), DataEdge("c", "a")]
    found = findings(plus(nodes(model, *chain), *steps))
    assert found == [Finding("edges[9]", "a cycle: a -> b -> c -> a (with {0}, {1}).", ("edges[7]", "edges[8]"))]


def test_every_cycle_is_found(model: Graph) -> None:
    pairs = [Node(name, "part.projector", Projector(in_dim=24, out_dim=24)) for name in "abcd"]
    steps = [DataEdge("a", "b"), DataEdge("b", "a"), DataEdge("c", "d"), DataEdge("d", "c")]
    assert [finding.path for finding in findings(plus(nodes(model, *pairs), *steps))] == ["edges[8]", "edges[10]"]


def test_a_chain_of_two_thousand_nodes_is_checked(model: Graph) -> None:
    names = [f"p{number}" for number in range(2000)]
    chain = [Node(name, "part.projector", Projector(in_dim=24, out_dim=24)) for name in names]
    steps = [DataEdge(start, end) for start, end in zip(["tower", *names], [*names, "projector"], strict=True)]
    long = plus(nodes(without(model, FEATURES), *chain), *steps)
    assert findings(long) == []
    assert long.order() == ("tower", *names, "projector", "decoder")
    bent = evolve(long, nodes=long.nodes | {"p999": Node("p999", "part.projector", Projector(in_dim=24, out_dim=25))})
    assert [finding.path for finding in findings(bent)] == ["nodes.p1000.in_dim"]


def test_places_are_filled_in_by_whoever_knows_them() -> None:
    finding = Finding("a", "{0} and {1}, but {2} and {kind: mask} stay", ("x.y", "z"))
    assert finding.text() == "x.y and z, but {2} and {kind: mask} stay"
    assert finding.text(lambda path: f"<{path}>") == "<x.y> and <z>, but {2} and {kind: mask} stay"


def test_only_the_output_out_is_read(model: Graph) -> None:
    def ports(config: Tower) -> Ports:
        return Ports(
            {"pixel_values": Port("pixel_values", "pixels", ("image", "patch", "patch_dim"))},
            {name: Port(name, "features", ("row", config.out_dim)) for name in ("out", "pooled")},
        )

    with registered(Component("part.two", "tower", Tower, ports, "nowhere.two")):
        graph = nodes(model, Node("tower", "part.two", Tower(out_dim=24)))
        assert said(graph) == []
        message = "edges[2].from: a data edge starts at a node's output out, not at pooled. Write from: tower."
        assert said(instead(graph, FEATURES, DataEdge("tower.pooled", "projector"))) == [message]


@pytest.mark.parametrize("name", ["forward", "config", "train", "get_image_features", "_modules"])
def test_nodes_are_not_named_like_attributes_of_the_model(model: Graph, name: str) -> None:
    graph = evolve(
        model,
        nodes={name if old == "projector" else old: node for old, node in model.nodes.items()},
        edges=[
            evolve(
                edge,
                source=name if edge.source.owner == "projector" else edge.source,
                target=name if edge.target.owner == "projector" else edge.target,
            )
            for edge in model.edges
        ],
    )
    assert [text.partition(":")[0] for text in said(evolve(graph, nodes=renamed(graph.nodes)))] == [f"nodes.{name}"]


def renamed(given: dict[str, Node]) -> dict[str, Node]:
    return {name: evolve(node, name=name) for name, node in given.items()}
