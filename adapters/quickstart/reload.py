"""The exported checkpoint, reloaded by transformers: the same logits, and the same answers by its own `generate`."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.quickstart.answers import MAX_NEW_TOKENS
from adapters.training.collator import Collator
from adapters.training.samples import Sample
from composer import Graph

LOGITS_BOUND = 1e-5


@frozen
class Agreement:
    """logits_error: norm of the difference relative to transformers; same, total: answers that are equal, and all."""

    logits_error: float
    same: int
    total: int

    @property
    def holds(self) -> bool:
        return self.logits_error <= LOGITS_BOUND and self.same == self.total


def load_with_transformers(folder: Path, graph: Graph) -> nn.Module:
    """The model class that the spec names, from an exported folder, by transformers alone."""
    import transformers

    model: nn.Module = getattr(transformers, str(graph.architecture)).from_pretrained(folder)
    return model.eval()


@torch.no_grad()
def compare(
    model: nn.Module, folder: Path, collator: Collator, samples: Sequence[Sample], said: Sequence[str]
) -> Agreement:
    """Compare the model with what transformers makes of its export.

    Args:
        model: the composed model that was exported.
        folder: the export.
        collator: makes batches for the model.
        samples: pictures and prompts.
        said: what the composed model answered to each.
    """
    oracle = load_with_transformers(folder, model.config.graph)  # type: ignore[union-attr, arg-type]
    answers = dict(zip((sample.where for sample in samples), said, strict=True))
    difference = size = same = 0.0
    # Prompts of one length at a time: transformers pads at the start, the composed model at the end.
    device = next(model.parameters()).device
    for group, inputs in _same_length_batches(collator, samples):
        ours = model(**{name: value.to(device) for name, value in inputs.items()}).cpu()
        theirs = oracle(**oracle_inputs(oracle, inputs, collator.encoder.image_id), use_cache=False).logits
        difference += float((ours - theirs).double().square().sum())
        size += float(theirs.double().square().sum())
        said_by_oracle = oracle_answers(oracle, inputs, collator)
        same += sum(answers[sample.where] == text for sample, text in zip(group, said_by_oracle, strict=True))
    return Agreement((difference / size) ** 0.5, int(same), len(samples))


def oracle_inputs(oracle: nn.Module, inputs: dict[str, Tensor], image_id: int) -> dict[str, Tensor]:
    """The same batch for transformers, which takes image runs from `mm_token_type_ids`: without it all is causal."""
    known = {name: value for name, value in inputs.items() if name != "images_per_sample"}
    if "mm_token_type_ids" not in signature(oracle.forward).parameters:
        return known
    return known | {"mm_token_type_ids": (inputs["input_ids"] == image_id).long()}


def oracle_answers(oracle: Any, inputs: dict[str, Tensor], collator: Collator) -> list[str]:
    """Greedy answers of transformers' own `generate`, with its key/value cache."""
    encoder = collator.encoder
    ids = oracle.generate(
        **oracle_inputs(oracle, inputs, encoder.image_id),
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=encoder.end_id,
        pad_token_id=collator.pad_id,
    )
    new = ids[:, inputs["input_ids"].shape[1] :].tolist()
    return [encoder.decode(row[: row.index(encoder.end_id)] if encoder.end_id in row else row) for row in new]


def _same_length_batches(collator: Collator, samples: Sequence[Sample]) -> list[tuple[list[Sample], dict[str, Tensor]]]:
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(collator.prompt_batch([sample]).tokens, []).append(sample)
    return [(group, collator.prompt_batch(group).inputs()) for group in groups.values()]
