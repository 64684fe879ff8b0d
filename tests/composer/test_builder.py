"""The builder makes the graphs that specs make, and says by path what is wrong."""

import json
from pathlib import Path

import pytest

import specs
from composer import Builder, Graph, SpecError, load
from composer.dump import dump
from composer.edges import MaskEdge
from composer.graph import HfSection
from composer.masks import Causal, Window
from tests.composer.conftest import Decoder
from tests.gemma4_builder import build_gemma4

SPECS = Path(specs.__path__[0])


def small() -> Builder:
    return (
        Builder("small", "A small model")
        .tokens(image=7, video=8)
        .input("input_ids", "tokens", ["batch", "seq"])
        .input("pixel_values", "pixels", ("image", "patch", "patch_dim"), optional=True)
        .node("tower", "part.tower", weights="model.tower", out_dim=24)
        .node("projector", "part.projector", in_dim=24, out_dim=40)
        .node("decoder", "part.decoder", hidden_size=40, vocab_size=100)
        .edge("embed", "input_ids", "decoder.embeddings", scale="sqrt_hidden_size", replace=["image"])
        .edge("data", "pixel_values", "tower.pixel_values")
        .edge("data", "tower", "projector")
        .edge("scatter", "projector", "decoder.embeddings", at=["image"])
        .edge("position", "input_ids", "decoder.rotary")
        .edge(
            "mask",
            "input_ids",
            "decoder.attention_mask",
            rules={"local": "(causal | same_run(image)) & window(64)", "global": Causal()},
        )
        .edge("share", "decoder.embedding_weight", "decoder.output_weight")
    )


def test_calls_make_the_graph(model: Graph) -> None:
    assert small().check() == model


def test_a_builder_may_go_on_after_a_check(parts: None) -> None:
    builder = small()
    first = builder.check()
    second = builder.node("extra", "part.projector", in_dim=24, out_dim=40).edge("data", "tower", "extra")
    with pytest.raises(SpecError, match=r"^nodes\.extra: no edge reads its output\.$"):
        second.check()
    again = second.edge("scatter", "extra", "decoder.embeddings", at=("video",)).check()
    assert len(first.nodes) == 3
    assert len(again.nodes) == 4


@pytest.mark.parametrize("config", ["gemma4_26b_a4b.json", "gemma4_31b.json"])
def test_gemma4_by_calls_is_gemma4_by_spec(config: str) -> None:
    hf = json.loads((SPECS / "configs" / config).read_text(encoding="utf-8"))
    built, loaded = build_gemma4(hf), load(SPECS / "gemma4_vl.yaml", hf=hf)
    assert built == loaded
    assert dump(built) == dump(loaded)


def test_everything_wrong_is_said_at_once_by_path(parts: None) -> None:
    builder = (
        small()
        .tokens(image=9)
        .node("tower", "part.tower", out_dim="24", colour=3)
        .node("second", "part.towre")
        .edge("maks", "pixel_values", "tower.pixel_values")
        .edge("scatter", "projector", "decoder.embeddings", at=["vidio"])
    )
    with pytest.raises(SpecError) as caught:
        builder.check()
    assert str(caught.value).splitlines() == [
        "edges[7].kind: unknown edge kind 'maks'. Did you mean 'mask'?",
        "edges[8].at[0]: unknown token 'vidio'. Did you mean 'video'?",
        "nodes.second: no edge reads its output.",
        "nodes.second.component: unknown component 'part.towre'. Did you mean 'part.tower'?",
        "nodes.tower: tower is declared twice.",
        "nodes.tower.colour: unknown key. Known: checkpoint, component, out_dim, patch_dim, weights, when.",
        "nodes.tower.out_dim: an integer is expected, not the text '24'. Remove the quotes.",
        "tokens.image: image is declared twice.",
    ]
    assert all(problem.location is None for problem in caught.value.problems)


def test_python_values_are_taken_as_they_are(parts: None) -> None:
    section = HfSection("SmallModel", default="configs/small.json")
    graph = (
        Builder("x", hf=section, hf_config={"a": {"b": 1}})
        .input("input_ids", "tokens", ["batch", "seq"])
        .node("decoder", "part.decoder", hidden_size=4, vocab_size=8, kinds=("a",))
        .edge("embed", "input_ids", "decoder.embeddings", scale=2)
        .edge("position", "input_ids", "decoder.rotary")
        .edge("mask", "input_ids", "decoder.attention_mask", rules={"a": Window(3)})
        .check()
    )
    assert graph.hf == section
    assert graph.hf_config == {"a": {"b": 1}}
    assert graph.nodes["decoder"].config == Decoder(4, 8, ("a",))
    assert [edge.rules for edge in graph.edges if isinstance(edge, MaskEdge)] == [{"a": Window(3)}]
    assert Builder("x", hf="SmallModel")._document["hf"] == {"architecture": "SmallModel"}
