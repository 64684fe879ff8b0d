"""`plain`: whatever form a configuration comes in, one dict comes out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import (
    Gemma4Config,
    LlamaConfig,
    LlavaConfig,
    Mistral3Config,
    MistralConfig,
    Qwen2Config,
    Qwen3MoeConfig,
)

from adapters.huggingface.config import plain
from adapters.huggingface.config_cache import cache_dir
from components.hf_config import HfConfigError, to_hf_config

LAYER_TYPES = ["sliding_attention", "sliding_attention", "full_attention"]
OLD = {
    "architectures": ["Gemma4ForConditionalGeneration"],
    "model_type": "gemma4",
    "dtype": "bfloat16",
    "transformers_version": "5.5.0",
    "text_config": {
        "model_type": "gemma4_text",
        "num_hidden_layers": 3,
        "layer_types": LAYER_TYPES,
        "head_dim": 16,
        "num_key_value_heads": 2,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "dtype": "bfloat16",
    },
    "vision_config": {"model_type": "gemma4_vision"},
}
"""As older transformers wrote it: what full layers have is in fields of its own."""

_SAME = {name: value for name, value in OLD["text_config"].items() if "global_" not in name}
NEW = OLD | {
    "transformers_version": "5.23.0",
    "text_config": _SAME | {"per_layer_config": {"2": {"head_dim": 32, "num_key_value_heads": 1}}},
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_old_and_new_form_are_one_dict():
    assert "global_head_dim" not in NEW["text_config"]
    assert plain(OLD) == plain(NEW) == plain(Gemma4Config(**OLD))


def test_kinds_hold_what_differs_and_globals_are_gone():
    text = plain(OLD)["text_config"]
    assert text["kinds"] == {
        "sliding_attention": {
            "head_dim": 16,
            "num_key_value_heads": 2,
            "rope": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        "full_attention": {
            "head_dim": 32,
            "num_key_value_heads": 1,
            "rope": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
        },
    }
    gone = {"head_dim", "num_key_value_heads", "rope_parameters", "per_layer_config"}
    assert not gone & text.keys()


def test_it_is_json_with_defaults_and_without_what_is_no_configuration():
    config = plain(OLD)
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert config["architectures"] == ["Gemma4ForConditionalGeneration"]
    assert config["text_config"]["hidden_activation"] == "gelu_pytorch_tanh"
    for level in (config, config["text_config"], config["vision_config"]):
        assert not {"dtype", "transformers_version"} & level.keys()
        assert not [key for key in level if key.startswith("_")]


def test_infinity_is_written_as_transformers_does():
    config = plain({"model_type": "mamba2"})
    assert config["time_step_limit"] == [0.0, {"__float__": "Infinity"}]


def test_it_is_idempotent():
    config = plain(OLD)
    assert plain(config) == config


def test_every_source_gives_the_same(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(NEW))
    assert plain(tmp_path) == plain(str(tmp_path)) == plain(tmp_path / "config.json") == plain(NEW)


def test_a_hub_id_is_read_from_the_hub_cache(tmp_path: Path):
    """The real huggingface_hub, offline: what was downloaded before is found, what was not is an error."""
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(NEW))
    refs = tmp_path / "hub" / "models--someone--tiny" / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    code = (
        "from adapters.huggingface.config import plain\n"
        "print(plain('someone/tiny')['text_config']['kinds']['full_attention']['head_dim'])\n"
        "print(plain('someone/tiny@main')['text_config']['kinds']['full_attention']['head_dim'])\n"
        "try: plain('someone/other')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    lines = _python(code, environment).splitlines()
    assert lines[:2] == ["32", "32"]
    assert lines[2].startswith(
        "HfConfigError someone/other: no such directory, and the hub cannot be reached (offline?)"
    )


def test_the_second_read_needs_no_transformers(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    first = plain(tmp_path)
    code = (
        "import sys, json; from adapters.huggingface.config import plain\n"
        f"config = plain({str(tmp_path)!r})\n"
        "print(json.dumps(['transformers' in sys.modules, 'torch' in sys.modules, config]))"
    )
    assert json.loads(_python(code, dict(os.environ))) == [False, False, first]


def test_another_content_is_another_entry(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(OLD))
    plain(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(OLD | {"image_token_id": 7}))
    assert plain(tmp_path)["image_token_id"] == 7
    assert len(list((cache_dir() / "configs").iterdir())) == 2


def test_a_broken_or_forbidden_cache_costs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    expected = plain(OLD)
    (entry,) = (cache_dir() / "configs").iterdir()
    entry.write_text("{ half")
    assert plain(OLD) == expected
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert plain(OLD) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json: not JSON: Expecting property name"),
        ("[1]", "config.json: not a configuration: expected a JSON object, got list"),
        ('{"model_type": "gema4"}', "no model_type gema4; did you mean gemma4?"),
        ("{}", "model_type must be the name of a transformers configuration, got None"),
        ('{"model_type": "gemma4_text", "hidden_size": "x"}', "Gemma4TextConfig refuses these values"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str, message: str):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(HfConfigError) as error:
        plain(tmp_path)
    assert message in str(error.value)


def test_nothing_there(tmp_path: Path):
    with pytest.raises(HfConfigError, match=r"no config\.json in this directory"):
        plain(tmp_path)
    with pytest.raises(HfConfigError, match="no such directory or file, and not a hub id like google/gemma-4-26B-A4B"):
        plain(str(tmp_path / "absent"))


def test_layers_of_one_kind_that_differ_are_refused():
    text = OLD["text_config"] | {"per_layer_config": {"0": {"head_dim": 8}}}
    with pytest.raises(HfConfigError, match="layers 0 and 1 are both sliding_attention but differ"):
        plain(OLD | {"text_config": text})


def _python(code: str, environment: dict[str, str]) -> str:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("text", "kind", "head_dim", "kv_heads"),
    [
        (LlamaConfig(num_hidden_layers=3, hidden_size=64, num_attention_heads=4), "full_attention", 16, 4),
        (Qwen3MoeConfig(num_hidden_layers=3, hidden_size=64, num_attention_heads=4), "full_attention", 16, 4),
        (MistralConfig(num_hidden_layers=3, head_dim=24, sliding_window=8), "sliding_attention", 24, 8),
        (MistralConfig(num_hidden_layers=3, head_dim=24, sliding_window=None), "full_attention", 24, 8),
        (Qwen2Config(num_hidden_layers=3, hidden_size=64, num_attention_heads=4), "full_attention", 16, 32),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_decoder_without_layer_types_has_one_kind(text, kind, head_dim, kv_heads):
    """Every spec reads the same fields, whether transformers' class knows kinds of layers or not."""
    found = plain(LlavaConfig(text_config=text))["text_config"]
    assert found["layer_types"] == [kind] * 3
    assert found["kinds"][kind]["head_dim"] == head_dim
    assert found["kinds"][kind]["num_key_value_heads"] == kv_heads
    assert found["kinds"][kind]["rope"]["rope_theta"] == 10000.0
    assert to_hf_config(found).to_dict() == text.to_dict()
    assert plain(found) == found


@pytest.mark.parametrize("config", [LlavaConfig(), Mistral3Config()], ids=lambda config: config.model_type)
def test_a_tower_with_a_vocabulary_is_no_decoder(config):
    found = plain(config)["vision_config"]
    assert "vocab_size" in found
    assert "kinds" not in found
