"""One tiny model for each distinct part of the families beside Gemma 4; `make cards` measures all variants."""

import pytest
import torch

from adapters.parity import measure_graph
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, oracle_logits
from adapters.parity.pair import make_pair
from adapters.parity.report import VANISHING, measured_by
from adapters.prove import prove_graph
from tests.parity.shipped_spec import tiny_of

PARTS = {
    "features from inside a tower, class token dropped": ("llava",),
    "pixel shuffle, query and key norms, experts stored one by one": ("internvl", "internvl_qwen3_moe"),
    "biases of queries, keys and values, tied embeddings": ("internvl",),
    "clips and pictures in grids through one tower, positions in time, height and width": ("qwen2_5_vl",),
    "parts of two checkpoints, a projector of our own": ("compose_your_own",),
    "pictures of any size, merged by the projector, interrupted by text": ("mistral3",),
}
WRONG = {
    "another layer of the tower": ("llava", ("nodes.vision_tower.hidden_states.layers=-1",)),
    "no bias": ("internvl", ("nodes.language_model.layers.kinds.full_attention.attention.bias=false",)),
    "shares of time, height and width": (
        "qwen2_5_vl",
        ("nodes.language_model.layers.kinds.full_attention.rope.sections=[3, 2, 2]",),
    ),
    "frames at another distance": ("qwen2_5_vl", ("edges[7].grids.video.time_step=1.0",)),
    "another activation": ("compose_your_own", ("nodes.projector.activation=relu",)),
    "another angle": ("mistral3", ("nodes.language_model.layers.kinds.full_attention.rope.theta=1e4",)),
}


@pytest.mark.parametrize("model", PARTS.values(), ids=PARTS)
def test_parity(model):
    report = measure_graph(tiny_of(*model))
    assert report.green, list(report.failures())
    assert report.embeddings is not None
    assert report.masks == {"full_attention": 0}


@pytest.mark.parametrize(("name", "overrides"), WRONG.values(), ids=WRONG)
def test_a_wrong_part_is_red(name, overrides):
    report = measure_graph(tiny_of(name, overrides=overrides))
    assert not report.green
    assert list(report.failures())


def test_rows_of_interrupted_pictures_reach_what_they_may():
    report = prove_graph(tiny_of("mistral3"))
    assert report.green, list(report.failures())


def test_pictures_differ_in_size_and_words_stand_between_their_lines():
    graph = tiny_of("mistral3")
    batch = make_batch(graph, build_oracle(graph))
    sizes = batch.features["image_sizes"]
    assert len({tuple(size) for size in sizes.tolist()}) > 3
    image = batch.input_ids == graph.tokens["image"]
    lines = [len(line) for line in "".join("i" if slot else " " for slot in image[0]).split()]
    assert lines == [4, 4, 4, 2, 3]
    pixels = batch.features["pixel_values"]
    height, width = sizes[1].tolist()
    assert not pixels[1, :, height:].any()
    assert not pixels[1, :, :, width:].any()


@torch.no_grad()
def test_a_key_bias_without_rotation_changes_nothing():
    """Why its gradient is measured by its weight's: what float32 computes for it is rounding."""
    with make_pair(tiny_of("llava")) as pair:
        attention = pair.oracle.get_submodule("model.vision_tower.encoder.layers.0.self_attn")
        before = oracle_logits(pair.oracle, pair.batch)
        attention.k_proj.bias.add_(1.0)
        moved = oracle_logits(pair.oracle, pair.batch)
        attention.q_proj.bias.add_(1.0)
        changed = oracle_logits(pair.oracle, pair.batch)
    assert (moved - before).norm() < 1e-5 * before.norm()
    assert (changed - moved).norm() > 1e-4 * before.norm()


def test_only_a_vanishing_bias_is_measured_by_its_weight():
    sizes = {"k.weight": 1.0, "k.bias": VANISHING / 2, "q.weight": 1.0, "q.bias": 1e-3, "norm.bias": 0.0, "x.weight": 0}
    assert measured_by("k.bias", sizes) == "k.weight"
    assert [name for name in sizes if measured_by(name, sizes) != name] == ["k.bias"]
