"""Configurations put together from several: parts, fields of their own, and vocabularies that grow."""

import json
from pathlib import Path

import pytest

from composer import SpecError, dump, load, loads
from composer.composed_config import ComposeError, compose, section_of
from composer.graph import Compose
from tests.composer.specs import SHIPPED

SPEC = next(path for path in SHIPPED if path.stem == "compose_your_own")
TEXT = {"text_config": {"vocab_size": 100, "hidden_size": 8}}


def composed(**section) -> dict:
    return compose(Compose(parts={"text_config": "x"}, **section), TEXT)


def test_own_fields_stand_beside_parts():
    assert composed(own={"model_type": "a"}) == {"model_type": "a", **TEXT}


def test_new_tokens_come_behind_the_vocabulary_in_order():
    found = composed(new_tokens=("image_token_index", "audio_token_index"))
    assert (found["image_token_index"], found["audio_token_index"]) == (100, 101)
    assert found["text_config"] == {"vocab_size": 102, "hidden_size": 8}
    assert TEXT["text_config"]["vocab_size"] == 100


@pytest.mark.parametrize(("multiple", "rows"), [(1, 101), (64, 128), (101, 101), (102, 102)])
def test_the_vocabulary_is_filled_up(multiple, rows):
    assert composed(new_tokens=("image",), vocab_multiple=multiple)["text_config"]["vocab_size"] == rows


def test_without_new_tokens_nothing_grows():
    assert composed(vocab_multiple=64)["text_config"]["vocab_size"] == 100


def test_tokens_need_a_vocabulary():
    with pytest.raises(ComposeError, match="no part text_config with a vocab_size"):
        compose(Compose(parts={}, new_tokens=("image",)), {"vision_config": {}})


def test_a_part_is_a_section_of_its_name_the_named_one_or_all():
    pair = {"vision_config": {"a": 1}, "text_config": {"b": 2}}
    assert section_of("vision_config", "x", pair) == {"a": 1}
    assert section_of("second_config", "x#vision_config", pair) == {"a": 1}
    assert section_of("second_config", "x", pair) == pair
    with pytest.raises(ComposeError, match="the configuration of x has no section audio_config"):
        section_of("second_config", "x#audio_config", pair)


def test_the_shipped_spec_adds_one_token_and_fills_up():
    graph = load(SPEC)
    assert graph.tokens == {"image": 151936}
    assert graph.decoder().config.config.vocab_size == 152000
    assert graph.nodes["vision_tower"].config.out_dim == 1152


def test_another_part_is_another_line():
    text = SPEC.read_text()
    swapped = text.replace(
        "vision_config: configs/siglip_so400m_patch14_384.json", "vision_config: configs/defaults/dinov2.json"
    )
    assert swapped != text
    graph = loads(swapped, file=str(SPEC))
    assert graph.nodes["vision_tower"].config.config["model_type"] == "dinov2"
    dense = loads(
        text.replace("text_config: configs/qwen3_30b_a3b_base.json", "text_config: configs/qwen3_0.6b.json"),
        file=str(SPEC),
    )
    assert dense.decoder().config.layers.kinds["full_attention"].ffn.experts is None
    assert any(edge.kind == "share" for edge in dense.edges)


def test_a_given_part_replaces_its_source_and_is_remembered(tmp_path):
    (tmp_path / "tower.json").write_text(json.dumps(load(SPEC).hf_config["vision_config"] | {"hidden_size": 768}))
    graph = load(SPEC, parts={"vision_config": str(tmp_path / "tower.json")})
    assert graph.nodes["projector"].config.in_dim == 768
    assert graph.hf.compose.parts["vision_config"] == str(tmp_path / "tower.json")


def test_checkpoints_are_read_by_whoever_can(tmp_path):
    """A directory beside the spec is found; anything else is handed on as it is."""
    asked = []

    def configuration(source):
        asked.append(source)
        return load(SPEC).hf_config

    (tmp_path / "mine").mkdir()
    spec = tmp_path / "spec.yaml"
    text = SPEC.read_text().replace("vision_config: configs/siglip_so400m_patch14_384.json", "vision_config: mine")
    spec.write_text(text.replace("text_config: configs/qwen3_30b_a3b_base.json", "text_config: some/hub-id"))
    load(spec, configuration=configuration)
    assert asked == [str(tmp_path / "mine"), "some/hub-id"]


def test_a_dump_holds_the_whole_and_reads_no_part(tmp_path):
    graph = load(SPEC)
    (tmp_path / "dumped.yaml").write_text(dump(graph))
    assert load(tmp_path / "dumped.yaml") == graph
    with pytest.raises(SpecError, match="this one is not put together from parts"):
        load(tmp_path / "dumped.yaml", parts={"vision_config": "x"})


def test_parts_that_are_not_there():
    with pytest.raises(
        SpecError, match=r"hf.compose.parts: there is no part vison_config. Did you mean 'vision_config'"
    ):
        load(SPEC, parts={"vison_config": "x"})
    with pytest.raises(SpecError, match="no file nowhere beside this spec"):
        load(SPEC, parts={"vision_config": "nowhere"})
    llava = Path(SPEC).with_name("llava.yaml")
    with pytest.raises(SpecError, match="this one is not put together from parts"):
        load(llava, parts={"vision_config": "x"})
