"""What the model may be called with, and what it says when something is missing or does not fit."""

import pytest
import torch
from attrs import evolve
from megatron.core.packed_seq_params import PackedSeqParams
from torch.testing import assert_close

from adapters.megatron import build
from adapters.megatron.arguments import ArgumentError
from adapters.megatron.call import MissingInputError
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
    with pytest.raises(MissingInputError, match=r"input_ids are needed .* by mask rules .*same_run"):
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


def test_float_masks_are_refused(model, batch):
    """Additive masks mean the opposite: zero everywhere would hide everything."""
    with pytest.raises(ArgumentError, match="attention_mask holds floats"):
        model(batch.input_ids, torch.zeros(batch.input_ids.shape), **batch.features)


@pytest.mark.parametrize("name", ["position_ids", "labels", "loss_mask"])
def test_other_shapes_are_refused(model, batch, name):
    with pytest.raises(ArgumentError, match=rf"{name} is \[3, 1\], it must be"):
        model(batch.input_ids, batch.attention_mask, **batch.features, **{name: torch.zeros(3, 1, dtype=torch.long)})


def test_labels_beyond_the_vocabulary(model, batch):
    with pytest.raises(ArgumentError, match="labels hold 9999, the vocabulary ends at"):
        model(batch.input_ids, batch.attention_mask, **batch.features, labels=batch.labels.clone().fill_(9999))


def test_counts_without_pictures(model):
    with pytest.raises(MissingInputError, match="images_per_sample counts items"):
        model(torch.tensor([[3, 4, 5]]), images_per_sample=torch.tensor([1]))


def test_surplus_arguments_of_features(model, batch):
    pixels, places = (batch.features[name] for name in ("pixel_values", "image_position_ids"))
    with pytest.raises(TypeError, match="each once"):
        model.get_image_features(pixels, places, 3)
    with pytest.raises(TypeError, match="each once"):
        model.get_image_features(pixels, pixel_values=pixels)


def test_an_input_that_is_not_optional_is_needed(graph):
    inputs = {name: evolve(declared, optional=False) for name, declared in graph.inputs.items()}
    strict = build(evolve(graph, inputs=inputs))
    with pytest.raises(MissingInputError, match="pixel_values, image_position_ids: not given, and not optional"):
        strict(torch.tensor([[3, 4, 5]]))


@pytest.mark.parametrize("found", [[3, 5, 20], [0, 9, 5], [0, 5, 21]])
def test_borders_that_cannot_be(model, found):
    borders = torch.tensor(found, dtype=torch.int32)
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_kv=borders)
    with pytest.raises(ArgumentError, match="cu_seqlens_q is"):
        model(torch.full((1, 20), 5), packed_seq_params=packed)


def test_padded_or_missing_borders(model):
    ids, borders = torch.full((1, 6), 5), torch.tensor([0, 2, 6])
    with pytest.raises(ArgumentError, match="without cu_seqlens_q"):
        model(ids, packed_seq_params=PackedSeqParams(qkv_format="thd"))
    padded = PackedSeqParams(qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_q_padded=borders + 1)
    with pytest.raises(ArgumentError, match="cu_seqlens_q_padded differs"):
        model(ids, packed_seq_params=padded)
