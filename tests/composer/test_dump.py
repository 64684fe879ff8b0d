import re

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer import Builder, dump, load, loads
from tests.composer.specs import SHIPPED, small, written

TEXT = written(small())
HF = TEXT.replace("image: 7", "image: ${hf.image}") + "hf: {architecture: A, config: {image: 7, s_config: {a: x}}}\n"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("origin", [False, True])
def test_dumps_load_to_the_same_graph(path, origin: bool) -> None:
    graph = load(path, overrides=["hf.text_config.vocab_size=300000"])
    again = loads(dump(graph, origin=origin))
    assert again == graph
    assert dump(again) == dump(graph)


TOKENS = st.dictionaries(
    st.sampled_from(["image", "video", "a", "b_2", "on", "null_", "Yes"]), st.integers(3, 10**9)
).filter(lambda tokens: len({*tokens.values()}) == len(tokens))
WORDS = st.text(st.sampled_from("a ${}:#'\"\\\n-é~1"), max_size=10)


@settings(deadline=None)
@given(
    name=WORDS,
    tokens=TOKENS,
    config=st.dictionaries(WORDS.filter(lambda key: key != "when"), WORDS | st.floats(allow_nan=False) | st.none()),
    eps=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    scale=st.sampled_from(["sqrt_hidden_size", 1.0, 0.1]),
    mode=st.sampled_from(["add", "replace"]),
    offset=st.integers(min_value=0),
    rule=st.sampled_from(["causal", "~(causal & window(3)) | same_run(image, video)", "prefix(image)"]),
)
def test_any_graph_comes_back(name, tokens, config, eps, scale, mode, offset, rule) -> None:
    graph = loads(TEXT)
    builder = Builder(name, hf="A", hf_config={"x": config, "s_config": config}).tokens(
        **({"image": 1, "video": 2} | tokens)
    )
    for given_input in graph.inputs.values():
        builder.input(given_input.name, given_input.type, given_input.shape, given_input.optional)
    inputs = {"pixel_values": ["image", "patch", 48]}
    builder.node("tower", "vision.hf_tower", weights=name, config=config, inputs=inputs, out_dim=32)
    builder.node("projector", "projector.hf_module", **{"class": "P", "args": [config], "in_dim": 32, "out_dim": 64})
    decoder = graph.nodes["decoder"].config
    builder.node(
        "decoder",
        "language.gpt",
        config=small()["nodes"]["decoder"]["config"] | {"norm_eps": eps},
        layers=decoder.layers,
    )
    builder.edge("embed", "input_ids", "decoder.embeddings", scale=scale)
    builder.edge("data", "pixel_values", "tower.pixel_values").edge("data", "tower", "projector")
    builder.edge("scatter", "projector", "decoder.embeddings", at=["image"], mode=mode)
    builder.edge("position", "input_ids", "decoder.rotary", offset=offset)
    builder.edge("mask", "input_ids", "decoder.attention_mask", rules={"near": rule, "far": "causal"})
    built = builder.check()
    assert loads(dump(built)) == built


def test_text_with_interpolation_marks_comes_back() -> None:
    graph = loads(TEXT.replace("A tower, a projector, a decoder", "costs $${hf.x} and $${"))
    assert graph.description == "costs ${hf.x} and ${"
    assert loads(dump(graph)) == graph


def test_a_dump_is_self_contained_whatever_its_configuration_came_from(tmp_path) -> None:
    graph = loads(HF, hf={"image": 7, "s_config": {"chat": "${x} $${y}", "when": "now"}})
    path = tmp_path / "elsewhere.yaml"
    path.write_text(dump(graph), encoding="utf-8")
    assert load(path) == graph


def origins(text: str) -> dict[str, str]:
    """The comment behind each key that occurs once."""
    return dict(re.findall(r"(\w+): [^\n]*?  # (.+)", text))


def test_every_value_says_where_it_came_from() -> None:
    graph = loads(HF, file="dir/f.yaml", overrides=["tokens.video=9", "hf.image=3"])
    text = dump(graph, origin=True)
    found = origins(text)
    assert found["name"] == "dir/f.yaml:2"
    assert found["video"] == "--set tokens.video=9"
    assert re.search(r"image: 3  # hf.image \(--set hf.image=3\)", text)
    assert found["requires"] == "default"
    assert found["offset"] == "default"
    theta = [line for line in text.splitlines() if "theta" in line]
    assert all("dir/f.yaml:" in line for line in theta)
    values = [line for line in text.splitlines() if re.search(r"[:-] [^&*\n]+$", line) and not line.endswith(":")]
    assert [line for line in values if "  # " not in line] == []


def test_merged_values_say_where_the_shared_mapping_has_them() -> None:
    graph = loads(TEXT, file="f")
    line = next(i for i, text in enumerate(TEXT.splitlines(), 1) if "norms: pre" in text)
    lines = [text for text in dump(graph, origin=True).splitlines() if "norms: pre" in text]
    assert len(lines) == 2
    assert all(text.endswith(f"  # f:{line}") for text in lines)


def test_a_built_graph_has_builder_for_origin() -> None:
    graph = loads(TEXT)
    text = dump(attrs.evolve(graph, origins=None), origin=True)
    assert "# builder" in text
    assert "# default" not in text


def test_lines_are_at_most_120_wide_unless_one_text_is_longer() -> None:
    for path in SHIPPED:
        assert max(map(len, dump(load(path)).splitlines())) <= 130
