"""Tiny configurations keep what makes a structure, and switches are turned the other way."""

import pytest
from transformers import InternVLConfig, LlavaConfig, Mistral3Config, MistralConfig, PixtralVisionConfig, Qwen3MoeConfig

from adapters.huggingface.config import plain
from adapters.parity.tiny import LAYERS, shrink
from adapters.parity.variants import Switch, switches
from components.hf_config import to_hf_config


def tiny(config):
    return shrink(plain(config))


def test_layers_of_one_kind_are_as_many_as_of_two():
    text = tiny(LlavaConfig())["text_config"]
    assert text["layer_types"] == ["full_attention"] * LAYERS
    assert text["num_hidden_layers"] == LAYERS


def test_as_many_keys_as_queries_stay_so_and_fewer_stay_fewer():
    every = tiny(LlavaConfig())["text_config"]
    assert every["kinds"]["full_attention"]["num_key_value_heads"] == every["num_attention_heads"]
    fewer = tiny(InternVLConfig(text_config=Qwen3MoeConfig()))["text_config"]
    assert fewer["kinds"]["full_attention"]["num_key_value_heads"] < fewer["num_attention_heads"]


def test_experts_are_few_under_either_name():
    text = tiny(InternVLConfig(text_config=Qwen3MoeConfig()))["text_config"]
    assert (text["num_local_experts"], text["num_experts_per_tok"]) == (8, 2)


def test_pictures_are_small_whatever_form_their_size_has():
    assert tiny(InternVLConfig(text_config=Qwen3MoeConfig()))["vision_config"]["image_size"] == [16, 16]
    assert tiny(LlavaConfig())["vision_config"]["image_size"] == 16


def test_a_tower_that_splits_its_width_over_the_heads_goes_on_to_do_so():
    vision = tiny(Mistral3Config(vision_config=PixtralVisionConfig(head_dim=64), text_config=MistralConfig()))
    sizes = vision["vision_config"]
    assert sizes["head_dim"] * sizes["num_attention_heads"] == sizes["hidden_size"]


def test_a_placeholder_is_beyond_what_text_may_hold():
    config = tiny(Mistral3Config(image_token_index=10))
    assert config["image_token_index"] >= 128
    assert config["text_config"]["bos_token_id"] == 1


@pytest.mark.parametrize("config", [LlavaConfig(), Mistral3Config(), InternVLConfig(text_config=Qwen3MoeConfig())])
def test_transformers_takes_them(config):
    assert to_hf_config(tiny(config)).to_dict()["model_type"] == config.model_type


@pytest.mark.parametrize(
    ("literals", "value", "other"),
    [
        ((), True, False),
        ((), False, False),
        ((), 3, None),
        (("vision",), "vision", None),
        (("full",), "default", "full"),
        ((-1,), -1, -2),
        ((-1,), -2, -1),
    ],
)
def test_a_switch_is_turned_the_other_way(literals, value, other):
    assert Switch("hf.x", literals).other(value) == other


def test_switches_are_what_conditions_read_but_for_the_type_of_a_model():
    text = "a: {when: hf.x == 1, b: {when: not hf.y}}\nc: [{when: hf.x != two}, {when: hf.t.model_type == qwen2}]"
    assert switches(text) == (Switch("hf.x", (1, "two")), Switch("hf.y", ()))
