"""The global batches that layouts are run on: micro-batches for ranks, and the same for one process alone."""

from typing import Any

import torch
from attrs import frozen
from megatron.core.packed_seq_params import PackedSeqParams

from adapters.parity.batch import Batch
from tests.distributed.layouts import DATA

PICTURES = ("pixel_values", "image_position_ids", "images_per_sample")
PACKED_LENGTH = 40  # two packed rows, each with two documents and a token of padding


@frozen
class GlobalBatch:
    """Micro-batches as keyword arguments of the model; `alone`: the same samples for one process, batch by batch."""

    micro_batches: list[dict[str, Any]]
    alone: list[dict[str, Any]]


def global_batches(batch: Batch) -> dict[str, GlobalBatch]:
    """From the parity batch: three rows with pictures."""
    rows = [_row(batch, number) for number in range(len(batch.input_ids))]
    texts = [_text(batch.input_ids.shape[1], first) for first in (3, 20, 40, 11)]
    documents = [_document(row) for row in (*rows, texts[0])]
    found = {
        # As many rows for each of two ranks; the last one has no picture.
        "pictures": GlobalBatch([*rows, texts[0]], [_together([*rows, texts[0]])]),
        # The second of two data-parallel ranks has none at all.
        "pictures_on_one_rank": GlobalBatch([*rows[:2], *texts[:2]], [*rows[:2], *texts[:2]]),
        # Nobody has one; in the last micro-batch, or in all.
        "text": GlobalBatch(texts, texts),
        "packed": GlobalBatch([_packed(documents[:2]), _packed(documents[2:])], documents),
    }
    assert found.keys() == set(DATA)
    return found


def _row(batch: Batch, row: int) -> dict[str, Any]:
    """One row with its own pictures."""
    counts = batch.images_per_sample
    end = int(counts[: row + 1].sum())
    own = slice(end - int(counts[row]), end)
    here = slice(row, row + 1)
    return {
        "input_ids": batch.input_ids[here],
        "attention_mask": batch.attention_mask[here],
        "labels": batch.labels[here],
        "loss_mask": batch.loss_mask[here].float(),
        "images_per_sample": counts[here],
        **{name: value[own] for name, value in batch.features.items()},
    }


def _text(length: int, first: int) -> dict[str, Any]:
    ids = torch.arange(first, first + length)[None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids, dtype=torch.bool),
        "labels": ids.roll(-1, 1),
        "loss_mask": torch.ones(ids.shape),
        **dict.fromkeys(PICTURES),
    }


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    whole = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    counts = [
        torch.zeros(1, dtype=torch.int64) if row["pixel_values"] is None else row["images_per_sample"] for row in rows
    ]
    return {name: torch.cat(parts) for name, parts in whole.items()} | {"images_per_sample": torch.cat(counts)}


def _document(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its padding."""
    valid = row["attention_mask"][0]
    of_tokens = ("input_ids", "labels", "loss_mask", "attention_mask")
    return row | {name: row[name][:, valid] for name in of_tokens}


def _packed(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Documents end to end in one row, then padding."""
    lengths = [document["input_ids"].shape[1] for document in documents]
    left = PACKED_LENGTH - sum(lengths)
    row = {
        name: torch.nn.functional.pad(torch.cat([document[name] for document in documents], 1), (0, left))
        for name in ("input_ids", "labels", "loss_mask")
    }
    pictures = [document for document in documents if document["pixel_values"] is not None]
    counted = sum(document["images_per_sample"] for document in pictures)
    features = {name: torch.cat([document[name] for document in pictures]) for name in PICTURES[:2]}
    borders = torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32)
    return row | features | {"images_per_sample": counted, "cu_seqlens": borders}


def arguments(micro_batch: dict[str, Any]) -> dict[str, Any]:
    """What the model is called with: files hold only tensors."""
    borders = micro_batch.get("cu_seqlens")
    given = {name: value for name, value in micro_batch.items() if name != "cu_seqlens"}
    if borders is None:
        return given
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_kv=borders)
    return given | {"packed_seq_params": packed}
