"""Pictures show every part of a graph, legibly."""

import itertools
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from composer.edges import DataEdge, MaskEdge, PositionEdge, ScatterEdge
from composer.edges.pack import Pack
from composer.graph import Graph, Input, Node
from composer.masks import parse
from composer.views import to_json, to_mermaid, to_svg, to_terminal
from composer.views.canvas import Canvas
from composer.views.layered import Link, Slot, arrange
from composer.views.mask_picture import draw_mask
from composer.views.outline import Outline, label
from tests.composer.conftest import Projector, Tower

PICTURE = Path(__file__).parents[1] / "golden" / "small_graph.txt"
SVG = "{http://www.w3.org/2000/svg}"


def printed(graph: Graph, width: int) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as caught:
        console.print(to_terminal(graph))
    return [line.rstrip() for line in caught.get().splitlines()]


@pytest.fixture
def wide(model: Graph) -> Graph:
    """Two towers, a skipping arrow, and words that markup would misread."""
    nodes = (
        Node("depth_tower", "part.tower", Tower(out_dim=24)),
        Node("depth_projector", "part.projector", Projector(in_dim=24, out_dim=40)),
    )
    return evolve(
        model,
        description="<b>pixels & depth</b>",
        inputs=model.inputs | {"depth": Input("depth", "pixels", ("image", "patch", "patch_dim"))},
        nodes=model.nodes | {node.name: node for node in nodes},
        edges=(
            *model.edges,
            DataEdge("depth", "depth_tower.pixel_values"),
            DataEdge("depth_tower", "depth_projector"),
            ScatterEdge("depth_projector", "decoder.embeddings", at=["video"], mode="add"),
        ),
    )


def test_the_terminal_picture(model: Graph) -> None:
    """UPDATE_GOLDEN=1 rewrites it: look at the change."""
    picture = "\n".join(printed(model, 80)) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        PICTURE.write_text(picture, encoding="utf-8")
    assert picture == PICTURE.read_text(encoding="utf-8")
    assert picture.count("▼") == 6


def test_a_narrow_terminal_gets_a_list(model: Graph) -> None:
    lines = printed(model, 60)
    assert "▼" not in "".join(lines)
    assert "  scatter at image → decoder.embeddings" in lines
    assert lines.index("tower  part.tower") < lines.index("decoder  part.decoder")


@pytest.mark.parametrize("width", [70, 80, 100, 200])
def test_the_terminal_picture_keeps_to_the_width(wide: Graph, width: int) -> None:
    lines = printed(wide, width)
    assert max(map(len, lines)) <= width
    for name in (*wide.inputs, *wide.nodes):
        assert any(name in line for line in lines)


def test_svg_is_xml_with_every_box_arrow_and_rule(wide: Graph) -> None:
    root = ElementTree.fromstring(to_svg(wide))
    words = [element.text for element in root.iter(f"{SVG}text")]
    for name in (*wide.inputs, *wide.nodes, "<b>pixels & depth</b>", "output_weight ≡ embedding_weight"):
        assert name in words
    for edge in wide.edges[:-4]:
        assert edge.kind == "share" or label(edge) in words
    assert "(causal | same_run(image)) & window(64)" in words
    arrows = [path for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(arrows) == len(wide.edges) - 1
    _assert_inside(root)


def _assert_inside(root: ElementTree.Element) -> None:
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for box in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height


def test_json_has_ports_fields_and_order(model: Graph) -> None:
    data = json.loads(to_json(model))
    assert data["order"] == ["tower", "projector", "decoder"]
    assert data["inputs"]["pixel_values"] == {
        "type": "pixels",
        "shape": ["image", "patch", "patch_dim"],
        "optional": True,
    }
    assert data["nodes"]["projector"] == {
        "component": "part.projector",
        "role": "projector",
        "weights": None,
        "inputs": {"in": {"type": "features", "shape": ["row", 24], "required": True}},
        "outputs": {"out": {"type": "features", "shape": ["row", 40], "required": True}},
    }
    assert data["nodes"]["decoder"]["layer_kinds"] == ["local", "global"]
    assert data["edges"][3] == {
        "kind": "scatter",
        "from": "projector",
        "to": "decoder.embeddings",
        "at": ["image"],
        "mode": "replace",
        "interrupted": False,
        "of": None,
    }
    assert data["edges"][5]["rules"]["local"] == "(causal | same_run(image)) & window(64)"


def test_mermaid_escapes_what_it_would_read(model: Graph) -> None:
    lines = to_mermaid(model).splitlines()
    assert lines[0] == "flowchart LR"
    assert '    n3 ==>|"scatter at image → embeddings"| n4' in lines
    assert '    n0 -.->|"mask → attention_mask"| n4' in lines
    decoder = next(line for line in lines if line.startswith("    n4["))
    assert "local: (causal #124; same_run(image)) #38; window(64)<br/>global: causal" in decoder


def test_labels_say_what_is_not_usual() -> None:
    assert label(PositionEdge("a", "b.c")) == "position"
    assert label(PositionEdge("a", "b.c", offset=2)) == "position + 2"
    assert label(ScatterEdge("a", "b.c", at=["x", "y"], mode="add")) == "scatter add at x, y"
    packed = DataEdge("a", "b.c", pack=[Pack(drop_first=1), Pack(pixel_shuffle=0.5)])
    assert label(packed) == "data, drop first 1, pixel shuffle 0.5"


def test_boxes_stand_right_before_their_readers(wide: Graph) -> None:
    layers = Outline.of(wide).layers
    assert layers == (
        ("pixel_values", "depth"),
        ("tower", "depth_tower"),
        ("input_ids", "projector", "depth_projector"),
        ("decoder",),
    )


def test_a_skipping_arrow_is_drawn_past_the_layers(model: Graph) -> None:
    skipping = evolve(
        model,
        inputs=model.inputs | {"rows": Input("rows", "features", ("row", 40))},
        nodes=model.nodes | {"early": Node("early", "part.projector", Projector(in_dim=40, out_dim=24))},
        edges=(
            *model.edges,
            DataEdge("rows", "early"),
            ScatterEdge("rows", "decoder.embeddings", at=["video"]),
            ScatterEdge("early", "decoder.embeddings", at=["video"]),
        ),
    )
    assert len(list(ElementTree.fromstring(to_svg(skipping)).iter(f"{SVG}path"))) > 8
    assert max(map(len, printed(skipping, 120))) <= 120
    assert "\n".join(printed(skipping, 120)).count("▼") == 9


def test_a_graph_without_rules_has_no_masks(model: Graph) -> None:
    bare = evolve(model, edges=[edge for edge in model.edges if not isinstance(edge, MaskEdge)], tokens={})
    assert "Who sees whom" not in to_svg(bare)
    assert "Who sees whom" not in "\n".join(printed(bare, 80))


def test_long_windows_are_drawn_short_and_say_so() -> None:
    picture = draw_mask(parse("(causal | same_run(image)) & window(1024)"))
    drawn = ["".join("x" if seen else "." for seen in row) for row in picture.rows]
    assert picture.note == "window drawn as 4"
    assert drawn[1] == "xxxxxx.....", "the first token of the run sees all of it"
    assert drawn[5] == "..xxxx.....", "the last one sees as far as the window"
    assert draw_mask(parse("causal & ~window(3) | chunk(5000)")).note == "chunk drawn as 4"
    assert draw_mask(parse("causal")).note == ""


def test_lines_join_where_they_meet() -> None:
    canvas = Canvas()
    canvas.vertical(2, 0, 2, "")
    canvas.horizontal(1, 0, 4, "")
    canvas.vertical(4, 1, 2, "")
    canvas.write(2, 0, "a")
    assert ["".join(letter for letter, _ in row) for row in canvas.rows()] == ["  ╷", "╶─┼─┐", "a ╵ ╵"]


@st.composite
def layerings(draw: st.DrawFn) -> tuple[list[list[Slot]], list[Link]]:
    layers = [
        [Slot(float(draw(st.integers(1, 30)))) for _ in range(draw(st.integers(1, 4)))]
        for _ in range(draw(st.integers(1, 5)))
    ]
    links = []
    for upper, lower in itertools.pairwise(layers):
        for _ in range(draw(st.integers(0, 6))):
            start, end = draw(st.sampled_from(upper)), draw(st.sampled_from(lower))
            links.append(Link(start, start.size / 2, end, end.size / 2))
    return layers, links


@given(layerings())
def test_boxes_of_a_layer_never_touch(layering: tuple[list[list[Slot]], list[Link]]) -> None:
    layers, links = layering
    before = [set(map(id, layer)) for layer in layers]
    arrange(layers, links, gap=3.0)
    assert [set(map(id, layer)) for layer in layers] == before
    assert min(slot.position for layer in layers for slot in layer) == 0
    for layer in layers:
        for slot, following in itertools.pairwise(layer):
            assert following.position - (slot.position + slot.size) >= 3.0 - 1e-9


def test_arrows_that_need_not_cross_do_not() -> None:
    upper, lower = [Slot(10.0) for _ in range(4)], [Slot(10.0) for _ in range(4)]
    links = [Link(upper[i], 5.0, lower[3 - i], 5.0) for i in range(4)]
    layers = [list(upper), list(lower)]
    arrange(layers, links, gap=2.0)
    assert [layers[0].index(link.start) for link in links] == [layers[1].index(link.end) for link in links]
    assert all(link.start.position == pytest.approx(link.end.position) for link in links)


def test_the_svg_says_what_trains(model: Graph) -> None:
    plain = to_svg(model)
    assert to_svg(model, {}) == plain
    states = {"tower": "frozen", "projector": "trained", "decoder": "partly"}
    marked = to_svg(model, states)
    words = [element.text for element in ElementTree.fromstring(marked).iter(f"{SVG}text")]
    assert [word for word in words if word in {"frozen", "trained", "partly trained"}].count("frozen") == 1
    assert {"frozen", "trained", "partly trained"} <= set(words)
    assert not {"frozen", "trained", "partly trained"} & {
        element.text for element in ElementTree.fromstring(plain).iter(f"{SVG}text")
    }
