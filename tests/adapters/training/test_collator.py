"""Batches: Megatron's label convention, masks, padding."""

from pathlib import Path

import attrs
import pytest
import torch

from adapters.training.collator import IGNORED, Collator
from adapters.training.problems import DataError
from adapters.training.samples import JsonlSamples, Sample, Turn


def test_labels_are_the_next_tokens_of_answers(collator: Collator, samples: JsonlSamples) -> None:
    group = list(samples)[:6]
    batch = collator.training_batch(group)
    for row, sample in enumerate(group):
        at = torch.nonzero(batch.labels[row] != IGNORED).flatten()
        answer = sample.turns[1].text
        assert collator.encoder.decode(batch.labels[row, at].tolist()) == answer
        assert batch.labels[row, at].tolist()[-1] == collator.encoder.end_id
        assert len(at) == len(answer) + 1
        assert torch.equal(batch.labels[row, at], batch.input_ids[row, at + 1])
        assert at.tolist() == list(range(int(at[0]), int(at[0]) + len(at)))
    assert torch.equal(batch.loss_mask.bool(), batch.labels != IGNORED)
    assert batch.targets == sum(len(sample.turns[1].text) + 1 for sample in group)


def test_padding_is_masked_and_features_match_placeholders(collator: Collator, samples: JsonlSamples) -> None:
    batch = collator.training_batch(list(samples)[:3])  # two, three and four digits
    lengths = batch.attention_mask.sum(1)
    assert len(set(lengths.tolist())) > 1
    for row, length in enumerate(lengths.tolist()):
        assert batch.attention_mask[row, :length].all()
        assert (batch.input_ids[row, length:] == collator.pad_id).all()
    assert batch.pixel_values is not None
    assert batch.image_position_ids is not None
    assert batch.pixel_values.shape == (3, 64, 192)
    valid = (batch.image_position_ids >= 0).all(-1)
    assert torch.equal(valid, (batch.image_position_ids != -1).any(-1))
    assert valid.sum(1).tolist() == [32, 48, 64]
    assert not batch.pixel_values[~valid].any()
    placeholders = (batch.input_ids == collator.encoder.image_id).sum(1)
    assert torch.equal(placeholders, valid.sum(1) // collator.grid.pool**2)
    assert batch.images_per_sample.tolist() == [1, 1, 1]
    assert batch.tokens == int(lengths.sum())


def test_prompts_hold_no_answer(collator: Collator, samples: JsonlSamples) -> None:
    group = list(samples)[:6]
    whole, prompts = collator.training_batch(group), collator.prompt_batch(group)
    assert prompts.targets == 0
    for row, sample in enumerate(group):
        length = int(prompts.attention_mask[row].sum())
        assert length == int(whole.attention_mask[row].sum()) - len(sample.turns[1].text) - 1
        assert torch.equal(prompts.input_ids[row, :length], whole.input_ids[row, :length])


def test_text_alone(collator: Collator) -> None:
    sample = Sample((Turn("user", "Read."), Turn("assistant", "1")), (), "here")
    batch = collator.training_batch([sample])
    assert batch.pixel_values is None
    assert batch.images_per_sample.tolist() == [0]
    assert set(batch.inputs()) == {"input_ids", "attention_mask", "images_per_sample"}


def test_too_long_text_is_cut_and_a_cut_picture_is_an_error(collator: Collator, samples: JsonlSamples) -> None:
    whole = collator.training_batch([samples[0]])
    length = whole.tokens
    cut = attrs.evolve(collator, max_length=length - 1).training_batch([samples[0]])
    assert torch.equal(cut.input_ids, whole.input_ids[:, :-1])
    assert cut.targets == whole.targets - 1
    with pytest.raises(DataError, match=r"train\.jsonl:1: .* picture lies beyond max_length 5"):
        attrs.evolve(collator, max_length=5).training_batch([samples[0]])


def test_a_missing_picture_is_named(collator: Collator) -> None:
    sample = Sample((Turn("user", "<image>"), Turn("assistant", "1")), (Path("absent.png"),), "file:9")
    with pytest.raises(DataError, match=r"^file:9: no picture absent\.png"):
        collator.training_batch([sample])
