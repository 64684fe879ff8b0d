"""What the model may be called with, and what it says when something is missing or does not fit."""

import pytest
import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch.testing import assert_close

from adapters.megatron.steps import MissingInputError
from components.fusion.feature_counts import FeatureCountError


@pytest.fixture
def text_embeddings(model, batch):
    """[B, S, H], scaled, as the embed edge makes them; zeros at placeholders, which are replaced anyway."""
    ids = batch.input_ids.masked_fill(batch.input_ids == model.config.graph.tokens["image"], 0)
    return model.language_model.embedding.word_embeddings.weight[ids] * model.config.hidden_size**0.5


def test_inputs_embeds_replaces_only_the_text_embedding(model, batch, logits, text_embeddings):
    output = model(batch.input_ids, batch.attention_mask, inputs_embeds=text_embeddings, **batch.features)
    assert_close(output, logits, rtol=1e-5, atol=1e-5)


def test_masks_still_come_from_tokens(model, batch, text_embeddings):
    with pytest.raises(MissingInputError, match=r"mask rules .*same_run.* need input_ids"):
        model(inputs_embeds=text_embeddings)


def test_features_cannot_be_placed_without_tokens(model, batch, text_embeddings):
    with pytest.raises(MissingInputError, match="input_ids"):
        model(inputs_embeds=text_embeddings, **batch.features)


def test_placeholders_without_pictures_name_the_sample(model, batch):
    with pytest.raises(MissingInputError, match=r"sample 0: \d+ image placeholders, but no image features"):
        model(batch.input_ids, batch.attention_mask)


def test_placeholders_nobody_fills(model):
    ids = torch.tensor([[3, 4, model.config.graph.tokens["video"], 5]])
    with pytest.raises(MissingInputError, match="sample 0: 1 video placeholders, but no video features"):
        model(ids)


def test_text_alone_needs_no_pictures(model):
    assert model(torch.tensor([[3, 4, 5]])).isfinite().all()


def test_half_a_picture(model, batch):
    with pytest.raises(MissingInputError, match="vision_tower got pixel_values but not image_position_ids"):
        model(batch.input_ids, pixel_values=batch.features["pixel_values"])


def test_nothing_at_all(model):
    with pytest.raises(MissingInputError, match="neither input_ids nor inputs_embeds"):
        model()


def test_unknown_argument(model, batch):
    with pytest.raises(TypeError, match="pixel_vales"):
        model(batch.input_ids, pixel_vales=None)


@pytest.mark.parametrize("shape", [(3,), (3, 1, 4, 4), (2, 5)])
def test_attention_mask_of_another_shape(model, batch, shape):
    with pytest.raises(ValueError, match=r"attention_mask is \[.*\], it must be \[3, \d+\]: True at real tokens"):
        model(batch.input_ids, torch.ones(shape, dtype=torch.bool), **batch.features)


def test_inputs_embeds_of_another_width(model, batch):
    with pytest.raises(ValueError, match="inputs_embeds is"):
        model(batch.input_ids, inputs_embeds=torch.zeros(*batch.input_ids.shape, 3), **batch.features)


def test_wrong_count_names_the_sample_and_both_counts(model, batch):
    ids = batch.input_ids.clone()
    ids[1, batch.attention_mask[1].nonzero()[0]] = 5  # sample 1 opens with a picture: one placeholder less
    with pytest.raises(FeatureCountError, match="sample 1: 3 image placeholders, but 4 feature rows"):
        model(ids, batch.attention_mask, **batch.features)


def test_images_per_sample_makes_the_check_exact(model, batch):
    wrong = batch.images_per_sample.roll(1)
    with pytest.raises(FeatureCountError, match="sample 0"):
        model(batch.input_ids, batch.attention_mask, **batch.features, images_per_sample=wrong)
    right = model(batch.input_ids, batch.attention_mask, **batch.features, images_per_sample=batch.images_per_sample)
    assert right.isfinite().all()


def test_position_ids_are_used(model, batch, logits):
    length = batch.input_ids.shape[1]
    counted = torch.arange(length).expand_as(batch.input_ids)
    same = model(batch.input_ids, batch.attention_mask, counted, **batch.features)
    stretched = model(batch.input_ids, batch.attention_mask, counted * 2, **batch.features)
    assert_close(same, logits, rtol=0, atol=0)
    assert (stretched - logits).abs().max() > 1e-3


def test_packed_documents_equal_their_own_rows(model):
    ids = torch.randint(3, 100, (1, 19))
    borders = torch.tensor([0, 7, 19], dtype=torch.int32)
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_kv=borders)
    with torch.no_grad():
        together = model(ids, packed_seq_params=packed)
        alone = torch.cat([model(ids[:, :7]), model(ids[:, 7:])], dim=1)
    assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_packed_pictures_keep_their_documents(model, batch):
    """A picture that ends one document touches a picture that opens the next: two runs, two documents."""
    image = model.config.graph.tokens["image"]
    pixels, places = batch.features["pixel_values"][3:4], batch.features["image_position_ids"][3:4]
    first = torch.tensor([[5, 6, 7, image, image, image, image]])
    second = torch.tensor([[image, image, image, image, 8, 9]])
    borders = torch.tensor([0, 7, 13], dtype=torch.int32)
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_kv=borders)
    both = {"pixel_values": pixels.repeat(2, 1, 1), "image_position_ids": places.repeat(2, 1, 1)}
    one = {"pixel_values": pixels, "image_position_ids": places}
    with torch.no_grad():
        together = model(torch.cat([first, second], dim=1), **both, packed_seq_params=packed)
        alone = torch.cat([model(first, **one), model(second, **one)], dim=1)
    assert_close(together, alone, rtol=1e-5, atol=1e-5)
