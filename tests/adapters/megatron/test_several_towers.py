"""Models with more than one tower, against the same modules called by hand."""

import pytest
import torch
from torch import Tensor

import adapters.megatron
from adapters.megatron.call import MissingInputError
from adapters.plans.inventory import inventory
from adapters.plans.planned import planned_model
from components.fusion.feature_counts import FeatureCountError
from composer import SpecError
from composer.plans.costs import Setting
from composer.plans.layout import Layout
from composer.plans.memory.towers import Images, towers_of
from composer.plans.time.encoders import passes_of
from tests.several_towers import (
    AUDIO,
    FRAMES,
    HIDDEN,
    IMAGE,
    MELS,
    ROWS,
    SIDE,
    SOUND_ROWS,
    two_vision_towers,
    vision_and_audio,
)


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def sounds(count: int) -> Tensor:
    return torch.rand(count, MELS, FRAMES, generator=torch.Generator().manual_seed(2))


def row(*parts: tuple[int, int]) -> Tensor:
    """[1, S]: (token, how many)."""
    return torch.tensor([[token for token, count in parts for _ in range(count)]])


@pytest.fixture(scope="module")
def side_by_side():
    torch.manual_seed(0)
    return adapters.megatron.build(two_vision_towers()).eval()


@pytest.fixture(scope="module")
def seeing_and_hearing():
    torch.manual_seed(0)
    return adapters.megatron.build(vision_and_audio()).eval()


@torch.no_grad()
def test_features_stand_side_by_side(side_by_side):
    pixels = pictures(3)
    rows = torch.cat(
        [
            side_by_side.siglip(pixel_values=pixels).last_hidden_state,
            side_by_side.dinov2(pixel_values=pixels).last_hidden_state[:, 1:],
        ],
        dim=-1,
    )
    by_hand = side_by_side.projector(rows).flatten(0, 1)
    assert by_hand.shape == (3 * ROWS, HIDDEN)
    assert torch.equal(side_by_side.get_image_features(pixels), by_hand)


@torch.no_grad()
def test_they_reach_their_placeholders(side_by_side):
    ids = row((5, 2), (IMAGE, ROWS), (6, 2), (IMAGE, ROWS), (7, 1))
    pixels = pictures(2)
    expected = side_by_side.decoder.embedding.word_embeddings.weight[ids[0]]
    expected[ids[0] == IMAGE] = side_by_side.get_image_features(pixels)
    with_embeddings = side_by_side(input_ids=row((5, 37)), inputs_embeds=expected[None])
    torch.testing.assert_close(side_by_side(input_ids=ids, pixel_values=pixels), with_embeddings, rtol=0, atol=1e-6)


def test_gradient_reaches_both_towers_but_not_a_frozen_one(side_by_side):
    inputs = {"input_ids": row((5, 2), (IMAGE, ROWS), (6, 2)), "pixel_values": pictures(1)}
    for frozen in (None, "siglip", "dinov2"):
        side_by_side.requires_grad_(True).zero_grad(set_to_none=True)
        if frozen:
            getattr(side_by_side, frozen).requires_grad_(False)
        side_by_side(**inputs).sum().backward()
        reached = {
            name
            for name in ("siglip", "dinov2", "projector", "decoder")
            if any(each.grad is not None and each.grad.any() for each in getattr(side_by_side, name).parameters())
        }
        assert reached == {"siglip", "dinov2", "projector", "decoder"} - {frozen}


def test_rows_must_agree():
    model = adapters.megatron.build(two_vision_towers(second_drops=0)).eval()
    with pytest.raises(FeatureCountError, match=r"items have \[16, 16\] rows of siglip and \[17, 17\] of dinov2"):
        model.get_image_features(pictures(2))


def test_widths_must_add_up():
    with pytest.raises(SpecError, match=r"projector.in_dim: 63 does not fit siglip.out, dinov2.out side by side, 64"):
        two_vision_towers(in_dim=63)


@torch.no_grad()
def test_pictures_and_sounds_each_at_their_own_token(seeing_and_hearing):
    model = seeing_and_hearing
    ids = row((5, 1), (AUDIO, SOUND_ROWS), (6, 1), (IMAGE, ROWS), (AUDIO, SOUND_ROWS), (7, 1))
    pixels, heard = pictures(1), sounds(2)
    seen = model.see(model.vision(pixel_values=pixels).last_hidden_state).flatten(0, 1)
    sound = model.hear(model.audio_tower(heard).last_hidden_state).flatten(0, 1)
    assert torch.equal(model.get_image_features(pixels), seen)
    assert torch.equal(model.get_audio_features(heard), sound)
    expected = model.decoder.embedding.word_embeddings.weight[ids[0]]
    expected[ids[0] == IMAGE], expected[ids[0] == AUDIO] = seen, sound
    counts = {"images_per_sample": torch.tensor([1]), "audios_per_sample": torch.tensor([2])}
    given = model(input_ids=ids, pixel_values=pixels, input_features=heard, **counts)
    plain = model(input_ids=row((5, ids.shape[1])), inputs_embeds=expected[None])
    torch.testing.assert_close(given, plain, rtol=0, atol=1e-6)


@torch.no_grad()
def test_sounds_are_counted_for_each_sample(seeing_and_hearing):
    ids = torch.cat([row((5, 1), (AUDIO, SOUND_ROWS)), row((AUDIO, SOUND_ROWS), (5, 1))])
    with pytest.raises(FeatureCountError, match=r"sample 0: 12 audio placeholders, but 24 feature rows \(of 2 audio"):
        seeing_and_hearing(input_ids=ids, input_features=sounds(2), audios_per_sample=torch.tensor([2, 0]))
    with pytest.raises(MissingInputError, match="sample 0: 12 audio placeholders, but no audio features"):
        seeing_and_hearing(input_ids=ids, pixel_values=None)


def planned(graph, *trains: str):
    found = inventory(graph)
    return planned_model(graph, trained=frozenset(each.name for each in found.parameters if each.node in trains))


def test_plans_follow_the_graph_and_not_the_order_of_nodes():
    """What trains on the way of sounds costs nothing on that of pictures."""
    graph = vision_and_audio()
    assert {each.node: each.reads for each in inventory(graph).encoders} == {
        "vision": (),
        "audio_tower": (),
        "see": ("vision",),
        "hear": ("audio_tower",),
    }
    passes = passes_of(planned(graph, "vision"))
    assert {name: bool(each.any) for name, each in passes.items()} == {
        "vision": True,
        "audio_tower": False,
        "see": True,
        "hear": False,
    }
    joined = passes_of(planned(two_vision_towers(), "dinov2"))
    assert {name: bool(each.any) for name, each in joined.items()} == {
        "siglip": False,
        "dinov2": True,
        "projector": True,
    }


def test_memory_of_towers_follows_the_graph():
    graph = vision_and_audio()
    setting = Setting(1, 64, Layout(), "local", 2)
    images = Images(number=1, rows=ROWS)
    kept = {
        names: towers_of(planned(graph, *names), images, setting) for names in (("see",), ("hear",), ("see", "hear"))
    }
    places = 16 * ROWS  # of where rows go: counted once in each
    assert kept[("see",)] + kept[("hear",)] - places == kept[("see", "hear")]
