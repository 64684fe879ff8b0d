"""Drafts: a shipped spec where one fits; else a composition that parity finds right, and a list of what is open."""

import json
from pathlib import Path

import pytest
from transformers import Cohere2VisionConfig, LightOnOcrConfig, VipLlavaConfig

from adapters.huggingface.config import plain
from adapters.huggingface.fitting_parts import fit
from adapters.init import InitError, make
from adapters.parity import measure_graph
from adapters.parity.tiny import shrink
from composer import load

SPECS = Path(__file__).parents[3] / "specs"
VIP = VipLlavaConfig(text_config={"model_type": "llama", "vocab_size": 32064})


def drafted(config, folder, **how):
    draft = make(config, "drafted", folder, **how)
    (folder / "drafted.yaml").write_text(draft.text, encoding="utf-8")
    (folder / "drafted.json").write_text(json.dumps(draft.config), encoding="utf-8")
    return draft


def shipped(name):
    return json.loads((SPECS / "configs" / name).read_text(encoding="utf-8"))


def test_a_known_checkpoint_gets_the_shipped_spec_and_what_it_becomes(tmp_path):
    config = shipped("llava_1.5_7b.json")
    draft = drafted(config, tmp_path)
    assert draft.shipped == "llava"
    assert "#   switch hf.vision_feature_select_strategy is default, compared with full" in draft.text
    graph = load(tmp_path / "drafted.yaml")
    assert graph.decoder() == load(SPECS / "llava.yaml", hf=config).decoder()


@pytest.mark.parametrize(
    "config",
    [
        "llava_1.5_7b.json",
        "mistral_small_3_24b.json",
        "defaults/internvl_qwen2.json",
        "defaults/internvl_qwen3_moe.json",
        VIP,
        LightOnOcrConfig(),
    ],
    ids=["llava", "mistral3", "internvl", "internvl_moe", "vipllava", "lighton_ocr"],
)
def test_a_composition_is_right_by_itself(config, tmp_path):
    config = shipped(config) if isinstance(config, str) else plain(config)
    drafted(config, tmp_path, anew=True)
    report = measure_graph(load(tmp_path / "drafted.yaml", hf=shrink(config)))
    assert report.green, list(report.failures())


def test_what_cannot_be_said_is_listed_with_the_key_and_the_reason(tmp_path):
    draft = drafted(plain(Cohere2VisionConfig()), tmp_path, anew=True)
    said = "\n".join(map(str, draft.undecided))
    assert "nodes.language_model.config: Cohere2LayerNorm is no RMS norm with a weight" in said
    assert "layers have no post_attention_layernorm.weight" in said
    assert "text_config.logit_scale is 0.0625" in said
    assert all(note.key in draft.text for note in draft.undecided)


def test_what_is_no_composition_is_refused_with_the_reason(tmp_path):
    with pytest.raises(InitError, match="has no text_config"):
        make(plain({"model_type": "chameleon"}), "drafted", tmp_path)


def test_parts_are_read_off_names():
    names = {f"self_attn.{each}_proj.weight" for each in "qkvo"} | {f"self_attn.{each}_proj.bias" for each in "qkv"}
    names |= {f"mlp.{each}_proj.weight" for each in ("gate", "up", "down")}
    names |= {"input_layernorm.weight", "post_attention_layernorm.weight", "self_attn.sinks"}
    fitted = fit(names)
    assert fitted.settings["attention.bias"] is True
    assert fitted.settings["norms"] == "pre"
    assert "attention.q_norm" not in fitted.settings
    assert (fitted.left, fitted.missing) == (("self_attn.sinks",), ())
    assert fitted.because["attention.bias"] == "self_attn.k_proj.bias"
