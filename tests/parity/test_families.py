"""One tiny model for each distinct part of the families beside Gemma 4; `make cards` measures all variants."""

import pytest
import torch

from adapters.megatron.arguments import ArgumentError
from adapters.megatron.call import MissingInputError
from adapters.parity import measure_graph
from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, oracle_logits
from adapters.parity.pair import logits, make_pair
from adapters.parity.report import VANISHING, measured_by
from adapters.prove import prove_graph
from components.fusion.feature_counts import FeatureCountError
from tests.parity.shipped_spec import tiny_of

PARTS = {
    "features from inside a tower, class token dropped": ("llava",),
    "pixel shuffle, query and key norms, experts stored one by one": ("internvl", "internvl_qwen3_moe"),
    "biases of queries, keys and values, tied embeddings": ("internvl",),
    "clips and pictures in grids through one tower, positions in time, height and width": ("qwen2_5_vl",),
    "half of a head turned in three directions, experts behind the first layer": ("glm4v_moe",),
    "levels added between layers, frames apart": ("qwen3_vl",),
    "the same class with experts": ("qwen3_vl", "qwen3_vl_30b_a3b"),
    "parts of two checkpoints, a projector of our own": ("compose_your_own",),
    "pictures of any size, merged by the projector, interrupted by text": ("mistral3",),
    "norms that count from one, rows averaged item by item": ("gemma3",),
    "capped scores, a prefix of picture and prompt, a token outside the vocabulary": ("paligemma2",),
    "a prefix without a window": ("paligemma",),
    "tiles put together with a row behind every line": ("llava_next",),
    "latent attention, stretched scores, first layers dense, squares of rows": ("kimi_k25",),
    "gated delta nets, gates of attention's outputs, a gated expert for every token": ("qwen3_5_moe",),
    "dense and sparse layers in turn, one weighted input, layers without rotation": ("llama4",),
    "norms without weights, stretched wavelengths, every layer sparse": ("llama4", "llama4"),
    "experts of pictures and of text, frames put together": ("ernie4_5_vl_moe",),
}
SETS = "nodes.language_model.layers.ffns.sparse.experts.sets"
WRONG = {
    "another layer of the tower": ("llava", ("nodes.vision_tower.hidden_states.layers=-1",)),
    "no bias": ("internvl", ("nodes.language_model.layers.kinds.full_attention.attention.bias=false",)),
    "shares of time, height and width": (
        "qwen2_5_vl",
        ("nodes.language_model.layers.kinds.full_attention.rope.sections=[3, 2, 2]",),
    ),
    "levels after other layers": ("qwen3_vl", ("edges[7].after=[0, 2]", "edges[8].after=[0, 2]")),
    "frames at another distance": ("qwen2_5_vl", ("edges[7].grids.video.time_step=1.0",)),
    "norms that count from zero": ("gemma3", ("nodes.language_model.config.norm_weight=plain",)),
    "scores of another scale": ("gemma3", ("nodes.language_model.layers.every.attention.scale_dim=8",)),
    "pictures beyond the window": (
        "gemma3",
        ("edges[5].rules.sliding_attention=causal & window(8) | same_run(image)",),
    ),
    "no cap": ("paligemma2", ("nodes.language_model.layers.every.attention.softcap=null",)),
    "a prefix within the window": (
        "paligemma2",
        ("edges[5].rules.sliding_attention=(causal | prefix(separator)) & window(8)",),
    ),
    "rotation of another part": (
        "qwen3_5_moe",
        (
            "nodes.language_model.layers.kinds.full_attention.rope.partial=0.5",
            "nodes.language_model.layers.kinds.full_attention.rope.sections=[6, 5, 5]",
        ),
    ),
    "another activation": ("compose_your_own", ("nodes.projector.activation=relu",)),
    "norms of queries and keys": (
        "llama4",
        tuple(f"nodes.language_model.layers.every.attention.{one}_norm=scale_free" for one in "qk"),
    ),
    "queries of one size": ("llama4", ("nodes.language_model.layers.kinds.full_attention.attention.temperature=null",)),
    "weights on what experts make": (
        "llama4",
        ("nodes.language_model.layers.ffns.sparse.experts.router.apply=output",),
    ),
    "text experts where pictures begin": (
        "ernie4_5_vl_moe",
        (f"{SETS}.vision_moe.tokens=[image, image_end, video, video_start, video_end]",),
    ),
    "another angle": ("mistral3", ("nodes.language_model.layers.kinds.full_attention.rope.theta=1e4",)),
    "scores not stretched": (
        "kimi_k25",
        ("nodes.language_model.layers.kinds.full_attention.rope.scaling.scale_scores=false",),
    ),
}


@pytest.mark.parametrize("model", PARTS.values(), ids=PARTS)
def test_parity(model):
    report = measure_graph(tiny_of(*model))
    assert report.green, list(report.failures())
    assert report.embeddings is not None
    assert report.masks["full_attention"] == 0
    assert not any(report.masks.values())


@pytest.mark.parametrize(("name", "overrides"), WRONG.values(), ids=WRONG)
def test_a_wrong_part_is_red(name, overrides):
    report = measure_graph(tiny_of(name, overrides=overrides))
    assert not report.green
    assert list(report.failures())


def test_frames_given_as_pictures_are_the_clip_of_transformers():
    """Where a clip has the placeholders of pictures: transformers takes its grid apart into frames."""
    with make_pair(tiny_of("glm4v_moe")) as pair:
        image = pair.graph.tokens["image"]
        patches = torch.rand(3 * 4 * 8, pair.batch.features["pixel_values"].shape[1])
        ids = torch.tensor([[3, *[image] * 8, 4, *[image] * 8, 5, 6, *[image] * 8, 7]])
        clip, frames = torch.tensor([[3, 4, 8]]), torch.tensor([[1, 4, 8]] * 3)
        with torch.no_grad():
            ours = pair.ours(ids, pixel_values=patches, image_grid_thw=frames)
            theirs = pair.oracle(
                input_ids=ids,
                pixel_values_videos=patches,
                video_grid_thw=clip,
                mm_token_type_ids=(ids == image).int() * 2,
            )
    assert (ours - theirs.logits).norm() < 1e-5 * theirs.logits.norm()


@torch.no_grad()
def test_features_of_each_modality_are_asked_for_alone():
    with make_pair(tiny_of("qwen2_5_vl")) as pair:
        given = pair.batch.features
        for modality, pixels, grids in (("image", "pixel_values", "image"), ("video", "pixel_values_videos", "video")):
            asked = {pixels: given[pixels], f"{grids}_grid_thw": given[f"{grids}_grid_thw"]}
            ours = getattr(pair.ours, f"get_{modality}_features")(**asked)
            theirs = getattr(pair.oracle, f"get_{modality}_features")(**asked).pooler_output
            assert (ours - torch.cat(theirs)).norm() < 1e-6 * ours.norm()


@torch.no_grad()
def test_positions_may_be_given_with_and_without_a_row_for_text():
    with make_pair(tiny_of("qwen2_5_vl")) as pair:
        batch = pair.batch
        index, *_ = pair.oracle.model.get_rope_index(
            batch.input_ids,
            batch.token_types,
            batch.features["image_grid_thw"],
            batch.features["video_grid_thw"],
            batch.features["second_per_grid_ts"],
            batch.attention_mask,
        )
        mine = logits(pair.ours, batch)
        for positions in (index, torch.cat([index[:1], index])):
            given = pair.ours(batch.input_ids, batch.attention_mask, positions, **batch.features)
            assert torch.equal(given, mine)
        moved = pair.ours(batch.input_ids, batch.attention_mask, index.flip(0), **batch.features)
        assert not torch.allclose(moved, mine)
        with pytest.raises(ArgumentError, match=r"position_ids is .* it must be"):
            pair.ours(batch.input_ids, batch.attention_mask, index[:2], **batch.features)


@torch.no_grad()
def test_counts_of_clips_and_of_pictures_are_checked_apart():
    with make_pair(tiny_of("qwen2_5_vl")) as pair:
        batch = pair.batch
        wrong = batch.counts | {"videos_per_sample": batch.counts["videos_per_sample"].roll(1)}
        with pytest.raises(FeatureCountError, match="video"):
            pair.ours(batch.input_ids, batch.attention_mask, **wrong, **batch.features)
        pictures = {name: value for name, value in batch.features.items() if "video" not in name and name[0] != "s"}
        with pytest.raises(MissingInputError, match="sample 0: 6 video placeholders, but no video features"):
            pair.ours(batch.input_ids, batch.attention_mask, **pictures)
        with pytest.raises(MissingInputError, match="visual got pixel_values_videos but not video_grid_thw"):
            pair.ours(batch.input_ids, batch.attention_mask, **batch.features | {"video_grid_thw": None})


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


def test_prefixes_end_at_separators_and_one_row_has_none():
    graph = tiny_of("paligemma2")
    batch = make_batch(graph, build_oracle(graph))
    separators = batch.input_ids == graph.tokens["separator"]
    assert separators.sum(-1).tolist() == [3, 2, 0]
    for row, marks, types in zip(batch.input_ids, separators, batch.token_types, strict=True):
        last = int(marks.nonzero().max()) if marks.any() else -1
        assert types.tolist() == [0] * (last + 1) + [1] * (len(row) - last - 1)
    assert graph.tokens["image"] >= graph.decoder().config.config.vocab_size


def test_pictures_have_different_grids_and_some_are_padded():
    graph = tiny_of("llava_next")
    batch = make_batch(graph, build_oracle(graph))
    tiling = graph.nodes["pictures"].config.tiling
    sizes = batch.features["image_sizes"].tolist()
    assert len({tiling.grid(*size) for size in sizes}) > 2
    counts = [tiling.tiles(*size) for size in sizes]
    assert min(counts) < batch.features["pixel_values"].shape[1] == max(counts)
