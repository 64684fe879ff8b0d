"""Greedy answers: batching and padding change nothing, and the end token ends."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapters.generation import generate
from adapters.megatron.start import build_stages
from adapters.quickstart.data import DataSizes, write_data
from adapters.quickstart.model import VOCAB_SIZE, load_graph, training_settings
from adapters.training.collator import Collator
from adapters.training.samples import JsonlSamples, Sample
from adapters.training.setup import make_collator

SPEC = Path(__file__).parents[2] / "specs" / "gemma4_vl.yaml"


@pytest.fixture(scope="module")
def collator(tmp_path_factory: pytest.TempPathFactory) -> Collator:
    folder = tmp_path_factory.mktemp("numbers")
    write_data(folder, DataSizes(training=3, heldout=2), VOCAB_SIZE, seed=0)
    return make_collator(load_graph(SPEC), training_settings(0), folder)


@pytest.fixture(scope="module")
def samples(collator: Collator, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = next(tmp_path_factory.getbasetemp().glob("numbers*"))
    return list(JsonlSamples(folder / "heldout.jsonl"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Fresh, but with small embeddings: what it says depends on all it has read, not just on the last token."""
    [model] = build_stages(load_graph(SPEC), training_settings(seed=3))
    with torch.no_grad():
        model.get_parameter("language_model.embedding.word_embeddings.weight").mul_(0.1)
    return model


@torch.no_grad()
def by_hand(model: nn.Module, inputs: dict[str, Tensor], end_id: int, limit: int) -> list[int]:
    """One unpadded prompt, one token at a time."""
    ids, answer = inputs["input_ids"], []
    for _ in range(limit):
        token = int(model(**inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids).bool()})[0, -1].argmax())
        if token == end_id:
            break
        answer.append(token)
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return answer


def test_a_padded_batch_answers_like_single_prompts(
    model: nn.Module, collator: Collator, samples: list[Sample]
) -> None:
    batch = collator.prompt_batch(samples)
    assert len(set(batch.attention_mask.sum(1).tolist())) > 1
    alone = [by_hand(model, collator.prompt_batch([sample]).inputs(), -1, 8) for sample in samples]
    assert all(len(answer) == 8 for answer in alone)
    assert len({token for answer in alone for token in answer}) > 10
    assert generate(model, batch.inputs(), -1, 8) == alone
    # Ending at a token that one of them says in the middle cuts each answer there, and only there.
    end = alone[0][3]
    expected = [answer[: answer.index(end)] if end in answer else answer for answer in alone]
    assert generate(model, batch.inputs(), end, 8) == expected


def test_inputs_and_mode_are_left_alone(model: nn.Module, collator: Collator, samples: list[Sample]) -> None:
    inputs = collator.prompt_batch(samples).inputs()
    before = {name: value.clone() for name, value in inputs.items()}
    model.train()
    generate(model, inputs, -1, 2)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in inputs.items())


def test_the_picture_is_looked_at(model: nn.Module, collator: Collator, samples: list[Sample]) -> None:
    inputs = collator.prompt_batch(samples[:1]).inputs()
    blank = inputs | {"pixel_values": torch.zeros_like(inputs["pixel_values"])}
    with torch.no_grad():
        assert not torch.allclose(model(**inputs)[0, -1], model(**blank)[0, -1])
