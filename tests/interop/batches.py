"""Rows of pictures and text as micro-batches, the same for every loop that is compared."""

from pathlib import Path

import torch

from adapters.parity.batch import make_batch
from adapters.parity.oracle import build_oracle, no_progress_bars

PICTURES = ("pixel_values", "image_position_ids")


def write(graph, folder: Path):
    """A tiny checkpoint at `folder`, and beside it the rows of `make_batch` one by one, and a row of text alone."""
    oracle = build_oracle(graph)
    with no_progress_bars():
        oracle.save_pretrained(folder)
    batch = make_batch(graph, oracle)
    ends = batch.images_per_sample.cumsum(0).tolist()
    rows = []
    for row, count in enumerate(batch.images_per_sample.tolist()):
        whole = {name: getattr(batch, name)[row : row + 1] for name in ("input_ids", "attention_mask", "labels")}
        own = {name: batch.features[name][ends[row] - count : ends[row]] for name in PICTURES}
        mask = batch.loss_mask[row : row + 1].float()
        rows.append({**whole, **own, "loss_mask": mask, "images_per_sample": torch.tensor([count])})
    rows.append(_text(rows[0]["input_ids"]))
    torch.save(rows, folder.with_suffix(".pt"))
    return rows


def _text(like):
    ids = torch.arange(3, 3 + like.shape[1])[None]
    return {"input_ids": ids, "labels": ids.roll(-1, 1), "loss_mask": torch.ones(ids.shape)}
