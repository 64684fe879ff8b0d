import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composer import SpecError, loads
from composer.emit import text as scalar_text
from composer.overrides import apply_to_hf, apply_to_tree, parse_overrides
from composer.path import format_path
from composer.source import parse
from tests.composer.specs import small, written

TEXT = written(small())


def leaves(data: Any, path: tuple[str | int, ...] = ()):
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if pairs is None:
        yield path
    else:
        for step, value in pairs:
            yield from leaves(value, (*path, step))


def replaced(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    data = copy.deepcopy(data)
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return data


VALUES = st.sampled_from([1, -3, 2.5, 1e-4, True, None, "x", "on", "1", "a b", "", "#", "${x"])


@given(st.sampled_from(sorted(leaves(small()), key=str)), VALUES)
def test_any_written_value_can_be_replaced(path: tuple[str | int, ...], value: Any) -> None:
    overrides, problems = parse_overrides([f"{format_path(path)}={scalar_text(value)}"])
    tree, more = apply_to_tree(parse(TEXT, "f"), overrides)
    assert problems + more == []
    assert repr(tree.plain()) == repr(replaced(small(), path, value))
    assert tree.nearest(path)[0].origin == overrides[0].value.file


HF = {"a": {"b": [1, {"c": "x"}], "f": 1.5}, "n": None}


@given(st.sampled_from(sorted(leaves(HF), key=str)), VALUES)
def test_any_field_of_the_configuration_can_be_replaced(path: tuple[str | int, ...], value: Any) -> None:
    before = copy.deepcopy(HF)
    overrides, problems = parse_overrides([f"{format_path(('hf', *path))}={scalar_text(value)}"])
    changed, more = apply_to_hf(HF, overrides)
    assert problems + more == []
    assert repr(changed) == repr(replaced(HF, path, value))
    assert before == HF


@settings(max_examples=200)
@given(st.text(st.sampled_from("nodes.projct_im[0]=1{}:' "), max_size=25))
def test_any_option_is_taken_or_refused(option: str) -> None:
    with contextlib.suppress(SpecError):
        loads(TEXT, file="f", overrides=[option])


def test_values_are_yaml_and_paths_may_have_spaces_around() -> None:
    graph = loads(TEXT, overrides=["nodes.decoder.config.norm_eps = 1e-4", "edges[3].at=[video, image]"])
    assert graph.nodes["decoder"].config.config.norm_eps == 1e-4
    assert graph.edges[3].at == ("video", "image")


def test_keys_the_schema_knows_can_be_added() -> None:
    graph = loads(
        TEXT,
        overrides=[
            "nodes.projector.weights=model.projector",
            "edges[4].offset=2",
            "tokens.audio=9",
            "nodes.decoder.layers.every.attention.values.keys=true",
            "nodes.decoder.layers.kinds.far.rope.type=proportional",
            "nodes.decoder.layers.kinds.far.rope.partial=0.5",
        ],
    )
    assert graph.nodes["projector"].weights == "model.projector"
    assert graph.edges[4].offset == 2
    assert graph.tokens["audio"] == 9
    kinds = graph.nodes["decoder"].config.layers.kinds
    assert {kind.attention.values.keys for kind in kinds.values()} == {True}
    assert [kind.rope.partial for kind in kinds.values()] == [1.0, 0.5]


def test_later_options_win() -> None:
    assert loads(TEXT, overrides=["tokens.image=3", "tokens.image=4"]).tokens["image"] == 4


def test_the_hf_section_itself_belongs_to_the_spec() -> None:
    text = TEXT + "hf: {architecture: A, config: {a: 1}}\n"
    graph = loads(text, overrides=["hf.architecture=B", "hf.requires=x>=2", "hf.a=2"])
    assert (graph.hf.architecture, graph.hf.requires, graph.hf_config) == ("B", "x>=2", {"a": 2})


def test_setting_fields_of_no_configuration_is_an_error() -> None:
    with pytest.raises(SpecError, match="no hf section"):
        loads(TEXT, overrides=["hf.a=2"])


def test_aliases_are_not_changed_together() -> None:
    tree = parse("tokens: &t {image: 1}\nnodes: {x: *t}\n", "f")
    overrides, _ = parse_overrides(["tokens.image=2"])
    assert apply_to_tree(tree, overrides)[0].plain() == {"tokens": {"image": 2}, "nodes": {"x": {"image": 1}}}


def test_what_a_condition_drops_may_be_overridden_where_that_is_asked_for() -> None:
    text = (Path(__file__).parents[1] / "errors" / "set_dropped.yaml").read_text(encoding="utf-8")
    heads = ["nodes.decoder.layers.kinds.near.attention.heads=8"]
    config = {"image_token_id": 7, "tie": None, "vision_config": {"hidden_size": 32}}
    graph = loads(text, hf=config, overrides=heads, idle_overrides=True)
    assert graph.decoder().config.layers.kinds["near"].attention.heads == 4
    graph = loads(text, hf=config | {"tie": True}, overrides=heads)
    assert graph.decoder().config.layers.kinds["near"].attention.heads == 8
