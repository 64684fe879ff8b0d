"""Which layers are dense: from every form that transformers' classes have, and back to the same configuration."""

import pytest
import transformers
from transformers import Dots1Config, InternVLConfig, Llama4TextConfig, Qwen2MoeConfig, Qwen3MoeConfig

from adapters.huggingface.config import plain
from adapters.parity.tiny import LAYERS, shrink
from components.hf_config import HfConfigError, to_hf_config

FIRST = Dots1Config(num_hidden_layers=5, first_k_dense_replace=2, sliding_window=None)
EVERY_SECOND = Qwen3MoeConfig(num_hidden_layers=5, decoder_sparse_step=2, mlp_only_layers=[3])
BY_NUMBER = Llama4TextConfig(num_hidden_layers=6, interleave_moe_layer_step=2)
ALL = Llama4TextConfig(num_hidden_layers=48)
CASES = {
    "the first are dense": (FIRST, "ddsss"),
    "every second but one is sparse": (EVERY_SECOND, "dsddd"),
    "numbers of sparse layers": (BY_NUMBER, "dsdsds"),
    "all sparse": (ALL, "s" * 48),
    "no experts": (Qwen2MoeConfig(num_hidden_layers=3, num_experts=0), "ddd"),
}
CLASSES = [
    "AfmoeConfig",
    "Cohere2MoeConfig",
    "DeepseekV3Config",
    "Ernie4_5_VLMoeTextConfig",
    "ExaoneMoeConfig",
    "Glm4MoeConfig",
    "Glm4vMoeTextConfig",
    "Llama4TextConfig",
    "Mistral4Config",
    "Qwen2MoeConfig",
    "Qwen3MoeConfig",
    "Qwen3NextConfig",
    "Qwen3VLMoeTextConfig",
    "Qwen3_5MoeTextConfig",
]


@pytest.mark.parametrize(("config", "kinds"), CASES.values(), ids=CASES)
def test_kinds_of_layers(config, kinds):
    assert "".join(kind[0] for kind in plain(config)["mlp_layer_types"]) == kinds


@pytest.mark.parametrize("config", [config for config, _ in CASES.values()], ids=CASES)
def test_the_way_back_gives_the_same(config):
    assert to_hf_config(plain(config)).to_dict() == config.to_dict()


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_comes_back(name):
    config = getattr(transformers, name)()
    assert to_hf_config(plain(config)).to_dict() == config.to_dict()


@pytest.mark.parametrize("config", [config for config, _ in CASES.values()], ids=CASES)
def test_a_tiny_one_has_both_kinds_if_there_were_both_and_is_one_that_transformers_makes(config):
    tiny = shrink(plain(config))
    assert len(tiny["mlp_layer_types"]) == tiny["num_hidden_layers"] == LAYERS
    assert set(tiny["mlp_layer_types"]) == set(plain(config)["mlp_layer_types"])
    assert plain(to_hf_config(tiny))["mlp_layer_types"] == tiny["mlp_layer_types"]


def test_what_is_said_of_every_layer_stays_with_its_layer():
    tiny = shrink(plain(BY_NUMBER))
    assert [int(kind == "chunked_attention") for kind in tiny["layer_types"]] == tiny["no_rope_layers"] == [1, 1, 1, 0]
    assert tiny["moe_layers"] == [1, 3]


def test_kinds_that_the_fields_contradict_are_refused():
    text = plain(InternVLConfig(text_config=EVERY_SECOND))
    text["text_config"]["mlp_layer_types"] = ["sparse"] * 5
    with pytest.raises(HfConfigError, match="from other fields, which say"):
        to_hf_config(text)
