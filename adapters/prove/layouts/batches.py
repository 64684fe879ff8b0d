"""The global batches that layouts are proved on: micro-batches for ranks, and the same samples for one process."""

from typing import Any

import torch
from attrs import frozen
from megatron.core.packed_seq_params import PackedSeqParams

from adapters.parity.batch import FIRST_TEXT_TOKEN, Batch
from adapters.parity.tiny import FIRST_SPECIAL_TOKEN
from adapters.prove.layouts.names import ROWS
from composer import Graph

OF_TOKENS = ("input_ids", "labels", "loss_mask", "attention_mask")
COUNTS = ("images_per_sample", "videos_per_sample")
MULTIPLE = 8
"""Rows are padded to a multiple of this, so that four ranks can share their tokens."""

MicroBatch = dict[str, Any]
"""Keyword arguments of the model; `cu_seqlens` [documents + 1] int32 stands for the document borders (`arguments`)."""


@frozen
class GlobalBatch:
    """Micro-batches of one row each; `alone`: the same samples for one process, batch by batch, never packed."""

    micro_batches: list[MicroBatch]
    alone: list[MicroBatch]

    @property
    def images(self) -> list[int]:
        """Of each micro-batch."""
        return list(map(items, self.micro_batches))


def items(micro_batch: MicroBatch) -> int:
    """Pictures and clips."""
    return sum(int(counts.sum()) for name, counts in micro_batch.items() if name in COUNTS)


def encoded_items(graph: Graph, micro_batch: MicroBatch) -> int:
    """What towers encode of pictures and clips: these, or the tiles that they are cut into."""
    count = items(micro_batch)
    for node in graph.nodes.values():
        if (tiles := getattr(node.config, "tiles", None)) is None:
            continue
        for edge in graph.edges_to(node.name):
            sizes = micro_batch[edge.source.owner]
            if edge.target.port == tiles.sizes_in and sizes is not None:
                count += sum(tiles.tiling.tiles(*size) - 1 for size in sizes.tolist())
    return count


def global_batches(batch: Batch) -> dict[str, GlobalBatch]:
    """From the parity batch: three rows with pictures, four rows of each kind."""
    names = tuple(batch.features)
    counted = tuple(batch.counts)
    rows = [_padded(_row(batch, number)) for number in range(3)]
    texts = [_padded(_text(batch.input_ids.shape[1], seed, names, counted)) for seed in range(ROWS)]
    documents = [_document(row) for row in (*rows, texts[0])]
    # The first pair touches with its pictures: one ends the first document, another begins the second.
    pairs = [[documents[first], documents[second]] for first, second in ((2, 1), (0, 1), (3, 0), (2, 3))]
    longest = max(sum(document["input_ids"].shape[1] for document in pair) for pair in pairs)
    length = longest + -longest % MULTIPLE
    return {
        # The last row has no picture, the third is padded in front.
        "pictures": GlobalBatch([*rows, texts[0]], [*rows, texts[0]]),
        # Half of the data-parallel ranks have none at all.
        "pictures on some ranks": GlobalBatch([*rows[:2], *texts[:2]], [*rows[:2], *texts[:2]]),
        "no pictures": GlobalBatch(texts, texts),
        "packed documents": GlobalBatch(
            [_packed(pair, length, names) for pair in pairs], [document for pair in pairs for document in pair]
        ),
    }


def _row(batch: Batch, row: int) -> MicroBatch:
    """One row with its own pictures."""
    here = slice(row, row + 1)
    of_tokens = {name: getattr(batch, name)[here] for name in OF_TOKENS}
    counts = {name: value[here] for name, value in batch.counts.items()}
    return of_tokens | {"loss_mask": batch.loss_mask[here].float()} | counts | batch.features_of(row)


def _text(length: int, seed: int, features: tuple[str, ...], counted: tuple[str, ...]) -> MicroBatch:
    """Words at random: counting ones make some gradients small by cancelling, and then rounding is all that is seen."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_TEXT_TOKEN, FIRST_SPECIAL_TOKEN, (1, length), generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids, dtype=torch.bool),
        "labels": ids.roll(-1, 1),
        "loss_mask": torch.ones(ids.shape),
        **{name: torch.zeros(1, dtype=torch.int64) for name in counted},
        **dict.fromkeys(features),
    }


def _padded(row: MicroBatch) -> MicroBatch:
    """A row with padding behind it."""
    more = (0, -row["input_ids"].shape[1] % MULTIPLE)
    return row | {name: torch.nn.functional.pad(row[name], more) for name in OF_TOKENS}


def _document(row: MicroBatch) -> MicroBatch:
    """A row without its padding."""
    valid = row["attention_mask"][0]
    return row | {name: row[name][:, valid] for name in OF_TOKENS}


def _packed(documents: list[MicroBatch], length: int, features: tuple[str, ...]) -> MicroBatch:
    """Documents end to end in one row, then padding."""
    lengths = [document["input_ids"].shape[1] for document in documents]
    row = {
        name: torch.nn.functional.pad(
            torch.cat([document[name] for document in documents], 1), (0, length - sum(lengths))
        )
        for name in ("input_ids", "labels", "loss_mask")
    }
    given = {name: [each[name] for each in documents if each[name] is not None] for name in features}
    counts = {name: torch.stack([each[name] for each in documents]).sum(0) for name in COUNTS if name in documents[0]}
    return row | {
        **{name: torch.cat(values) if values else None for name, values in given.items()},
        **counts,
        "cu_seqlens": torch.tensor([0, *torch.tensor(lengths).cumsum(0)], dtype=torch.int32),
    }


def arguments(micro_batch: MicroBatch, device: torch.device | int) -> dict[str, Any]:
    """What the model is called with, on a device."""
    there = {name: None if value is None else value.to(device) for name, value in micro_batch.items()}
    borders = there.pop("cu_seqlens", None)
    if borders is None:
        return there
    packed = PackedSeqParams(qkv_format="thd", cu_seqlens_q=borders, cu_seqlens_kv=borders)
    return there | {"packed_seq_params": packed}


def documents_of(micro_batch: MicroBatch) -> list[int]:
    """The number of the document of every token of a packed row, -1 at padding behind the last."""
    borders = micro_batch["cu_seqlens"].tolist()
    length = micro_batch["input_ids"].shape[1]
    numbers = [number for number, end in enumerate(borders[1:]) for _ in range(end - borders[number])]
    return numbers + [-1] * (length - len(numbers))
