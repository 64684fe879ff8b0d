"""`to_hf_config` undoes `plain`, exactly, for the families this project is about, and says what it cannot do."""

import copy
import json
from pathlib import Path

import pytest
import transformers
from transformers import (
    Gemma3Config,
    Gemma4AudioConfig,
    Gemma4Config,
    Gemma4TextConfig,
    Gemma4VisionConfig,
    PreTrainedConfig,
)

from adapters.huggingface.config import plain
from components.hf_config import HfConfigError, to_hf_config

CONFIGS = Path(__file__).parents[2] / "specs" / "configs"


def gemma4_text(**changes) -> Gemma4TextConfig:
    sizes = {
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "hidden_size_per_layer_input": 0,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
    }
    return Gemma4TextConfig(**(sizes | changes))


def gemma4(**text) -> Gemma4Config:
    return Gemma4Config(text_config=gemma4_text(**text), vision_config=Gemma4VisionConfig(standardize=True))


def gemma4_small_with_audio() -> Gemma4Config:
    text = {"attention_k_eq_v": False, "num_global_key_value_heads": None, "hidden_size_per_layer_input": 8}
    config = gemma4(**text, num_kv_shared_layers=3, use_double_wide_mlp=True)
    config.audio_config = Gemma4AudioConfig(hidden_size=32, subsampling_conv_channels=[16, 4])
    return config


CASES: dict[str, PreTrainedConfig] = {
    "gemma4 experts": gemma4(enable_moe_block=True, num_experts=8, top_k_experts=2, moe_intermediate_size=40),
    "gemma4 dense": gemma4(),
    "gemma4 audio": gemma4_small_with_audio(),
    "gemma4 layers agree": gemma4(global_head_dim=16, num_global_key_value_heads=2),
    "gemma4 full only": gemma4(layer_types=["full_attention"] * 6),
    "gemma4 bidirectional": gemma4(use_bidirectional_attention="all", sliding_window=9),
    "gemma3 two ropes": Gemma3Config(text_config={"num_hidden_layers": 6, "rope_parameters": None}),
    **{
        name: transformers.CONFIG_MAPPING[name]()
        for name in (
            "llava", "llava_next", "internvl", "mistral3", "gemma3", "gemma4", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe",
            "qwen3_5", "qwen3_5_moe", "glm4v_moe", "kimi_k25", "llama4", "paligemma", "ernie4_5_vl_moe", "nemotron_h",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_is_the_inverse_of_plain(name: str):
    config = CASES[name]
    back = to_hf_config(plain(config))
    assert type(back) is type(config)
    assert back.to_dict() == config.to_dict()
    assert plain(back) == plain(config)


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if getattr(case.get_text_config(), "layer_types", None)]
)
def test_every_layer_gets_its_own_values_back(name: str):
    text, back = CASES[name].get_text_config(), to_hf_config(plain(CASES[name])).get_text_config()
    assert back.is_heterogeneous == text.is_heterogeneous
    for index in range(text.num_hidden_layers):
        assert back.per_layer_config[index].to_dict() == text.per_layer_config[index].to_dict(), index


def test_a_sub_config_alone_is_enough():
    text = plain(CASES["gemma4 dense"])["text_config"]
    assert to_hf_config(text).per_layer_config["full_attention"].head_dim == 32


def test_the_plain_dict_is_not_changed():
    config = plain(CASES["gemma4 dense"])
    before = copy.deepcopy(config)
    to_hf_config(config).text_config.rope_parameters["full_attention"]["rope_theta"] = 5.0
    assert config == before


def test_values_changed_in_kinds_arrive():
    config = plain(CASES["gemma4 dense"])
    config["text_config"]["kinds"]["full_attention"] |= {"head_dim": 48, "num_key_value_heads": 2}
    config["text_config"]["kinds"]["sliding_attention"]["rope"]["rope_theta"] = 5.0
    text = to_hf_config(config).text_config
    assert [text.per_layer_config[layer].head_dim for layer in (0, 2)] == [16, 48]
    assert [text.per_layer_config[layer].num_key_value_heads for layer in (0, 2)] == [2, 2]
    assert text.rope_parameters["sliding_attention"]["rope_theta"] == 5.0


def test_a_derived_head_width_changed_in_kinds_arrives():
    config = plain(transformers.Qwen2Config(hidden_size=64, num_attention_heads=4, num_hidden_layers=2))
    assert config["head_dim"] is None
    assert config["kinds"]["full_attention"]["head_dim"] == 16
    assert "head_dim" not in to_hf_config(config).to_dict()
    config["kinds"]["full_attention"]["head_dim"] = 24
    assert to_hf_config(config).head_dim == 24


@pytest.mark.parametrize("name", ["gemma4_26b_a4b", "gemma4_31b"])
def test_shipped_configurations_are_plain(name: str):
    shipped = json.loads((CONFIGS / f"{name}.json").read_text())
    assert plain(to_hf_config(shipped)) == shipped
    assert {kind: values["head_dim"] for kind, values in shipped["text_config"]["kinds"].items()} == {
        "sliding_attention": 256,
        "full_attention": 512,
    }


def test_a_text_model_published_under_another_name_is_transformers_own():
    """With code of its own beside it, whose classes are none of transformers'."""
    text = {"model_type": "kimi_k2", "hidden_size": 64, "num_hidden_layers": 2, "auto_map": {"AutoConfig": "a.B"}}
    raw = {"model_type": "kimi_k25", "architectures": ["KimiK25"], "auto_map": {"AutoConfig": "a.C"}}
    config = plain(raw | {"text_config": text | {"quantization_config": {"quant_method": "x"}, "architectures": ["B"]}})
    assert config["text_config"]["model_type"] == "deepseek_v3"
    assert config["text_config"]["hidden_size"] == 64
    assert not {"auto_map", "quantization_config"} & (config.keys() | config["text_config"].keys())
    assert config["architectures"] is config["text_config"]["architectures"] is None
    with pytest.raises(HfConfigError, match="no model_type kimi_k3"):
        plain(raw | {"text_config": text | {"model_type": "kimi_k3"}})


def test_errors_say_what_is_wrong():
    text = plain(CASES["gemma4 dense"])["text_config"]
    with pytest.raises(HfConfigError, match=r"no model_type gemma4_txt; did you mean gemma4_text\?"):
        to_hf_config(text | {"model_type": "gemma4_txt"})
    with pytest.raises(HfConfigError, match="model_type must be the name of a transformers configuration, got None"):
        to_hf_config({})
    with pytest.raises(HfConfigError, match=r"Gemma4TextConfig refuses these values: .*hidden_size"):
        to_hf_config(text | {"hidden_size": "wide"})
    with pytest.raises(HfConfigError, match="layer_types names full_attention, but kinds has only sliding_attention"):
        to_hf_config(text | {"kinds": {"sliding_attention": text["kinds"]["sliding_attention"]}})
    one_rope = plain(transformers.CONFIG_MAPPING["llama4"]())["text_config"]
    one_rope["kinds"]["full_attention"]["rope"] = {"rope_type": "default", "rope_theta": 7.0}
    with pytest.raises(HfConfigError, match="one rope for all layers, but kinds gives several"):
        to_hf_config(one_rope)
