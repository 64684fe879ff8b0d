"""The composed spec with other towers and decoders, each against transformers' model of those parts."""

import pytest

from adapters.huggingface.configured import load_configured
from adapters.parity import measure_graph
from adapters.parity.tiny import shrink
from composer import load
from composer.load import maybe_config_file
from tests.parity.shipped_spec import SPECS

SPEC = SPECS / "compose_your_own.yaml"
SWAPPED = {
    "a tower with a class token, which stays": ("configs/llava_1.5_7b.json", "configs/qwen3_30b_a3b_base.json", "full"),
    "the class token goes; dense, tied": ("configs/llava_1.5_7b.json", "configs/qwen3_0.6b.json", "default"),
    "a tower whose files have other words": ("configs/defaults/dinov2.json", "configs/qwen3_0.6b.json", "default"),
}


@pytest.mark.parametrize(("tower", "text", "strategy"), SWAPPED.values(), ids=SWAPPED)
def test_parity(tower, text, strategy):
    places = {"vision_config": tower, "text_config": text}
    named = ",".join(f"{name}={maybe_config_file(SPEC, place)}" for name, place in places.items())
    configured = load_configured(SPEC, named, [f"hf.vision_feature_select_strategy={strategy}"])
    report = measure_graph(load(SPEC, hf=shrink(configured.hf_config)))
    assert report.green, list(report.failures())
    assert report.round_trip == ()
