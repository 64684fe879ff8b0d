"""What the trained model answers to held-out pictures, and how often that is right."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from torch import nn

from adapters.generation import generate
from adapters.quickstart.pictures import chance
from adapters.training.collator import Collator
from adapters.training.samples import Sample

MAX_NEW_TOKENS = 6


@frozen
class Answer:
    """One held-out picture: the number it shows, and what the model says when given only picture and prompt."""

    picture: Path
    number: str
    said: str

    @property
    def right(self) -> bool:
        """Exact match: one wrong digit is a wrong answer."""
        return self.said == self.number


@frozen
class Score:
    """Right answers among numbers of one length. `chance`: how often a guess of a number that long is right."""

    digits: int
    right: int
    total: int

    @property
    def accuracy(self) -> float:
        return self.right / self.total

    @property
    def chance(self) -> float:
        return chance(self.digits)


def number_of(sample: Sample) -> str:
    """The right answer of a sample, from its conversation."""
    return next(turn.text for turn in sample.turns if turn.role == "assistant")


def read_pictures(model: nn.Module, collator: Collator, samples: Sequence[Sample], batch: int = 50) -> list[Answer]:
    """Ask the model for every picture's number, by greedy decoding; the answer is never part of what it is given."""
    device = next(model.parameters()).device
    answers = []
    for start in range(0, len(samples), batch):
        group = samples[start : start + batch]
        inputs = collator.prompt_batch(group).inputs(device)
        for sample, ids in zip(group, generate(model, inputs, collator.encoder.end_id, MAX_NEW_TOKENS), strict=True):
            answers.append(Answer(sample.images[0], number_of(sample), collator.encoder.decode(ids)))
    return answers


def score_answers(answers: Sequence[Answer]) -> tuple[Score, ...]:
    """Exact matches for each length of number, shortest first."""
    lengths = sorted({len(answer.number) for answer in answers})
    groups = {length: [answer for answer in answers if len(answer.number) == length] for length in lengths}
    return tuple(Score(length, sum(a.right for a in group), len(group)) for length, group in groups.items())
