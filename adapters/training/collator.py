"""Samples as one batch of tensors.

Legend: B samples, S positions, N pictures of the whole batch, P patches of the largest picture, D = 3·p·p, H and W
height and width of whole pictures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.nn.functional import pad

from adapters.training.encoding import ChatEncoder
from adapters.training.problems import DataError
from adapters.training.samples import Sample

IGNORED = -100
CHARACTERS_PER_TOKEN = 4


@frozen(eq=False)
class Batch:
    """What one forward pass takes.

    input_ids: [B, S] int64, padded at the end. labels: [B, S] int64, already shifted: the token after each position,
    or -100. loss_mask: [B, S] float32, 1 where labels count. attention_mask: [B, S] bool, True at real tokens.
    pixel_values: [N, P, D] float32 and image_position_ids: [N, P, 2] int64, -1 at padding, or [N, 3, H, W] alone;
    pictures in the order of their placeholders; None without pictures. images_per_sample: [B] int64.
    """

    input_ids: Tensor
    labels: Tensor
    loss_mask: Tensor
    attention_mask: Tensor
    pixel_values: Tensor | None
    image_position_ids: Tensor | None
    images_per_sample: Tensor

    @property
    def tokens(self) -> int:
        """Real tokens, padding not counted."""
        return int(self.attention_mask.sum())

    @property
    def targets(self) -> int:
        """Positions that count in the loss."""
        return int(self.loss_mask.sum())

    def padded(self, length: int, pad_id: int) -> "Batch":
        """The same samples at S = `length`; what is added is neither attended to nor learned."""
        more = length - self.input_ids.shape[1]
        if more == 0:
            return self
        fills = {"input_ids": pad_id, "labels": IGNORED, "loss_mask": 0.0, "attention_mask": False}
        return evolve(self, **{name: pad(getattr(self, name), (0, more), value=fill) for name, fill in fills.items()})

    def inputs(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The model's arguments without labels, on a device."""
        names = ("input_ids", "attention_mask", "pixel_values", "image_position_ids", "images_per_sample")
        return {name: getattr(self, name).to(device) for name in names if getattr(self, name) is not None}


class Picture(Protocol):
    """A picture as a tower reads it."""

    @property
    def features(self) -> int:
        """Feature rows the model makes of it."""
        ...


class Pictures[P: Picture](Protocol):
    """Reads picture files as a tower wants them (`PatchGrid`, `PixelGrid`)."""

    def read(self, path: Path, where: str) -> P: ...
    def count_features(self, path: Path, where: str) -> int: ...
    def stack(self, pictures: Sequence[P]) -> dict[str, Tensor]: ...


@frozen
class Collator:
    """Makes batches. pad_id: token at padding; max_length: longest sequence in tokens."""

    encoder: ChatEncoder
    grid: Pictures[Any]
    pad_id: int
    max_length: int

    def training_batch(self, samples: Sequence[Sample]) -> Batch:
        """Whole conversations, with labels.

        Raises:
            DataError: a picture is missing, a text holds placeholders, or a picture lies beyond `max_length`.
        """
        pictures = [self._pictures(sample) for sample in samples]
        rows = []
        for sample, own in zip(samples, pictures, strict=True):
            encoded = self.encoder.encode(sample.turns, [picture.features for picture in own], sample.where)
            rows.append((self._cut(encoded.ids, sample), encoded.learned[: self.max_length]))
        return self._batch(rows, pictures)

    def micro_batches(
        self, samples: Sequence[Sample], size: int, *, multiple: int = 1, uniform: bool = False
    ) -> list[Batch]:
        """Batches of `size` samples each, in order.

        Args:
            samples: a multiple of `size`.
            size: samples of a batch.
            multiple: S is padded to a multiple of this.
            uniform: whether all get the S of the longest.

        Raises:
            DataError: as `training_batch`.
        """
        batches = [self.training_batch(samples[at : at + size]) for at in range(0, len(samples), size)]
        lengths = [-(-batch.input_ids.shape[1] // multiple) * multiple for batch in batches]
        if uniform:
            lengths = [max(lengths)] * len(lengths)
        return [batch.padded(length, self.pad_id) for batch, length in zip(batches, lengths, strict=True)]

    def prompt_batch(self, samples: Sequence[Sample]) -> Batch:
        """Pictures and prompts only: every answer is left out, and so are labels (all ignored)."""
        pictures = [self._pictures(sample) for sample in samples]
        rows = []
        for sample, own in zip(samples, pictures, strict=True):
            ids = self.encoder.encode_prompt(sample.turns, [picture.features for picture in own], sample.where)
            rows.append((self._cut(ids, sample), (False,) * len(ids)))
        return self._batch(rows, pictures)

    def length(self, sample: Sample) -> int:
        """About how many tokens a sample has, without reading its pictures: what batches are grouped by."""
        features = sum(self.grid.count_features(path, sample.where) for path in sample.images)
        return features + sum(len(turn.text) for turn in sample.turns) // CHARACTERS_PER_TOKEN

    def _pictures(self, sample: Sample) -> list[Picture]:
        return [self.grid.read(path, sample.where) for path in sample.images]

    def _cut(self, ids: tuple[int, ...], sample: Sample) -> tuple[int, ...]:
        if self.encoder.image_id in ids[self.max_length :]:
            raise DataError(f"{sample.where}: {len(ids)} tokens: a picture lies beyond max_length {self.max_length}.")
        return ids[: self.max_length]

    def _batch(self, rows: list[tuple[tuple[int, ...], tuple[bool, ...]]], pictures: list[list[Picture]]) -> Batch:
        shape = (len(rows), max(len(ids) for ids, _ in rows))
        input_ids = torch.full(shape, self.pad_id)
        labels = torch.full(shape, IGNORED)
        attention_mask = torch.zeros(shape, dtype=torch.bool)
        for row, (ids, learned) in enumerate(rows):
            tokens = torch.tensor(ids)
            input_ids[row, : len(ids)] = tokens
            attention_mask[row, : len(ids)] = True
            flags = torch.tensor(learned[1 : len(ids)], dtype=torch.bool)
            labels[row, : len(ids) - 1] = torch.where(flags, tokens[1:], IGNORED)
        stacked = self.grid.stack([picture for own in pictures for picture in own])
        return Batch(
            input_ids=input_ids,
            labels=labels,
            loss_mask=(labels != IGNORED).float(),
            attention_mask=attention_mask,
            pixel_values=stacked.get("pixel_values"),
            image_position_ids=stacked.get("image_position_ids"),
            images_per_sample=torch.tensor([len(own) for own in pictures]),
        )
