"""Looking things up in a graph."""

from graphlib import CycleError

import pytest
from attrs import evolve

from composer.edges import DataEdge, EmbedEdge, MaskEdge, Ref, ScatterEdge
from composer.errors import SpecError
from composer.graph import Graph, Node
from composer.masks import Causal


def test_edges_by_their_ends(model: Graph) -> None:
    assert [edge.kind for edge in model.edges_to("decoder")] == ["embed", "scatter", "position", "mask", "share"]
    assert [type(edge) for edge in model.edges_to("decoder", "embeddings")] == [EmbedEdge, ScatterEdge]
    assert model.edges_to("projector", "in") == (DataEdge("tower", "projector"),), "no port means the port in"
    assert model.edges_to("decoder", "in") == model.edges_to("nobody") == ()
    assert [edge.kind for edge in model.edges_from("input_ids")] == ["embed", "position", "mask"]


def test_nodes_come_after_what_they_read(model: Graph) -> None:
    backwards = evolve(model, nodes=dict(reversed(model.nodes.items())))
    assert model.order() == backwards.order() == ("tower", "projector", "decoder")
    assert model.generations() == (("tower",), ("projector",), ("decoder",))
    alone = evolve(model, edges=())
    assert alone.generations() == (("tower", "projector", "decoder"),)


def test_there_is_no_order_in_a_circle(model: Graph) -> None:
    with pytest.raises(CycleError):
        evolve(model, edges=(*model.edges, DataEdge("projector", "tower"))).order()


def test_the_decoder_is_the_one_node_of_that_role(model: Graph) -> None:
    assert model.decoder() is model.nodes["decoder"]
    rest = {name: node for name, node in model.nodes.items() if name != "decoder"}
    with pytest.raises(LookupError, match="small has 0 decoders"):
        evolve(model, nodes=rest).decoder()
    with pytest.raises(LookupError, match="small has 2 decoders"):
        evolve(model, nodes={**model.nodes, "second": model.nodes["decoder"]}).decoder()


def test_check_raises_everything_by_path(model: Graph) -> None:
    model.check()
    broken = evolve(model, nodes={**model.nodes, "spare": Node("spare", "part.towel", None)})
    with pytest.raises(SpecError) as caught:
        broken.check()
    assert str(caught.value).splitlines() == [
        "nodes.spare: no edge reads its output.",
        "nodes.spare.component: unknown component 'part.towel'. Did you mean 'part.tower'?",
    ]


def test_edges_take_text_and_lists() -> None:
    assert ScatterEdge("a.out", "b.c", at="image").at == ScatterEdge("a.out", "b.c", at=["image"]).at == ("image",)
    assert DataEdge("a.out", "b").source == Ref("a", "out")
    assert str(DataEdge("a.out", "b").source) == "a.out"
    assert str(DataEdge("a.out", "b").target) == "b"
    assert MaskEdge("a", "b", rules={"x": "causal"}).rules == {"x": Causal()}
