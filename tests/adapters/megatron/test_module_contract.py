"""What a hand-written Megatron wrapper offers: constructor, forward, return convention, features, freezing."""

import inspect

import pytest
import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.testing import assert_close

from adapters.megatron import ComposedModel, composed_config, runtime

WRAPPER = ["input_ids", "attention_mask", "position_ids", "inputs_embeds", "pixel_values", "image_position_ids"]
WRAPPER += ["labels", "runtime_gather_output", "packed_seq_params"]


@pytest.fixture(autouse=True)
def _groups() -> None:
    """Whatever ran before in this process may have left the groups."""
    runtime.ensure()


def test_is_a_megatron_module_around_a_gpt_model(model, graph):
    assert isinstance(model, MegatronModule)
    assert isinstance(model.language_model, GPTModel)
    assert isinstance(model.config, TransformerConfig)
    assert model.config.graph is graph


def test_constructor_is_the_wrappers(graph):
    names = list(inspect.signature(ComposedModel).parameters)
    assert names == ["config", "pre_process", "post_process", "vp_stage"]
    assert isinstance(ComposedModel(composed_config(graph)), MegatronModule)


def test_arguments_stand_in_the_wrappers_order(model):
    parameters = model.arguments.signature.parameters.values()
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == WRAPPER
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == {"loss_mask", "images_per_sample"}


def test_logits_without_labels(logits, batch, graph):
    assert logits.shape == (*batch.input_ids.shape, graph.decoder().config.config.vocab_size)


def test_positional_call_equals_keyword_call(model, batch, logits):
    features = [batch.features[name] for name in ("pixel_values", "image_position_ids")]
    assert_close(model(batch.input_ids, batch.attention_mask, None, None, *features), logits, rtol=0, atol=0)


def test_labels_give_unreduced_loss_and_the_loss_mask(model, batch, logits):
    mask = batch.loss_mask.float()
    losses, returned = model(
        batch.input_ids, batch.attention_mask, **batch.features, labels=batch.labels, loss_mask=mask
    )
    assert returned is mask
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.labels, reduction="none")
    assert_close(losses, expected)


def test_loss_mask_alone_gives_logits_and_the_mask(model, batch, logits):
    mask = batch.loss_mask.float()
    output, returned = model(batch.input_ids, batch.attention_mask, **batch.features, loss_mask=mask)
    assert returned is mask
    assert_close(output, logits, rtol=0, atol=0)


def test_negative_labels_are_ignored(model, batch):
    labels = batch.labels.masked_fill(~batch.loss_mask, -100)
    losses, mask = model(batch.input_ids, batch.attention_mask, **batch.features, labels=labels)
    assert torch.equal(mask, batch.loss_mask.float())
    assert losses[~batch.loss_mask].abs().max() == 0
    assert losses[batch.loss_mask].min() > 0


def test_image_features_are_what_is_scattered(model, batch):
    features = model.get_image_features(batch.features["pixel_values"], batch.features["image_position_ids"])
    by_name = model.get_image_features(**batch.features, return_dict=True)
    placeholders = int((batch.input_ids == model.config.graph.tokens["image"]).sum())
    assert features.shape == (placeholders, model.config.hidden_size)
    assert torch.equal(features, by_name)


def test_image_features_name_what_they_lack(model, batch):
    with pytest.raises(ValueError, match="image_position_ids"):
        model.get_image_features(batch.features["pixel_values"])
    with pytest.raises(TypeError, match="pixels"):
        model.get_image_features(batch.features["pixel_values"], pixels=1)
    with pytest.raises(AttributeError):
        _ = model.get_sound_features


@pytest.mark.parametrize(
    ("argument", "node"),
    [
        ("freeze_language_model", "language_model"),
        ("freeze_vision_model", "vision_tower"),
        ("freeze_vision_projection", "embed_vision"),
    ],
)
def test_freeze_stops_exactly_one_role(fresh, batch, argument, node):
    fresh.freeze(**{argument: True})
    losses, mask = fresh(batch.input_ids, batch.attention_mask, **batch.features, labels=batch.labels)
    (losses * mask).sum().backward()
    for name, parameter in fresh.named_parameters():
        assert (parameter.grad is None) == name.startswith(node), name


def test_tied_table_is_one_parameter(model):
    assert model.shared_embedding_or_output_weight() is model.language_model.embedding.word_embeddings.weight
    assert not [name for name, _ in model.named_parameters() if "output_layer" in name]


def test_no_language_model_or_mask_function_of_transformers_in_the_model(model):
    theirs = {type(m) for m in model.modules() if type(m).__module__.startswith("transformers")}
    assert theirs
    allowed = (model.vision_tower, model.embed_vision)
    assert theirs == {type(m) for part in allowed for m in part.modules() if "transformers" in type(m).__module__}
    assert not [kind for kind in theirs if "Text" in kind.__name__ or "CausalLM" in kind.__name__]
