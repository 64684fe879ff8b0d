"""Two ranks, and four, started once each; one process without Megatron's schedules; gradients put together again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adapters.huggingface.import_weights import import_weights
from adapters.megatron import build
from adapters.parity.batch import make_batch
from adapters.parity.gradients import gradients
from adapters.parity.oracle import build_oracle, no_progress_bars
from tests.distributed.graphs import VARIANTS, tiny
from tests.distributed.layouts import COMBINED, FAULTS, LAYOUTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="session")
def single(folder):
    """Loss and gradients of each variant on this one process: the whole batch at once, by plain autograd."""
    torch.set_num_threads(1)
    found = {}
    for variant in VARIANTS:
        graph = tiny(variant)
        oracle = build_oracle(graph)
        with no_progress_bars():
            oracle.save_pretrained(folder / variant)
        batch = _four_rows(make_batch(graph, oracle))
        torch.save(_micro_batches(batch), folder / f"{variant}.pt")
        model = build(graph).train()
        import_weights(model, folder / variant)
        losses, mask = model(**batch)
        loss = (losses * mask).sum() / mask.sum()
        loss.backward()
        found[variant] = {"loss": float(loss.detach()), "gradients": gradients(model, graph)}
    return found


@pytest.fixture(scope="session")
def ranks(single, folder):
    """What two ranks found in every layout, by its id."""
    return _run(folder, 2, (*LAYOUTS, *FAULTS))


@pytest.fixture(scope="session")
def four_ranks(single, folder):
    """What four ranks found in every layout, by its id."""
    return _run(folder, 4, COMBINED)


def _run(folder: Path, count: int, layouts):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    done = subprocess.run(
        [*command, "-m", "tests.distributed.worker", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
    return {layout.id: _gathered(folder, layout.id, count) for layout in layouts}


def _four_rows(batch):
    """The parity batch and a row of text alone: as many rows for each of two ranks, pictures not in every one."""
    text = batch.input_ids[:1].clone()
    text[:] = torch.arange(3, 3 + text.shape[1])
    labels = text.roll(-1, 1)
    return {
        "input_ids": torch.cat([batch.input_ids, text]),
        "attention_mask": torch.cat([batch.attention_mask, torch.ones_like(text, dtype=torch.bool)]),
        "labels": torch.cat([batch.labels, labels]),
        "loss_mask": torch.cat([batch.loss_mask, torch.ones_like(text, dtype=torch.bool)]).float(),
        "images_per_sample": torch.cat([batch.images_per_sample, torch.zeros(1, dtype=torch.int64)]),
        **batch.features,
    }


def _micro_batches(batch):
    """One row each, with its own pictures or none."""
    ends = batch["images_per_sample"].cumsum(0).tolist()
    found = []
    for row, end in enumerate(ends):
        count = int(batch["images_per_sample"][row])
        cut = {name: value[row : row + 1] for name, value in batch.items()}
        for name in ("pixel_values", "image_position_ids"):
            cut[name] = batch[name][end - count : end] if count else None
        cut["images_per_sample"] = batch["images_per_sample"][row : row + 1] if count else None
        found.append(cut)
    return found


def _gathered(folder: Path, name: str, count: int):
    """Loss by rank, every gradient whole, and how far ranks with the same part of one differ."""
    results = [torch.load(folder / f"{name}.{rank}.pt", weights_only=True) for rank in range(count)]
    slices: dict = {}
    for result in results:
        for tensor, dim, index, parts, gradient in result["gradients"]:
            slices.setdefault(tensor, (dim, parts, {}))[2].setdefault(index, []).append(gradient)
    whole, apart = {}, {}
    for tensor, (dim, parts, found) in slices.items():
        assert len(found) == parts, (tensor, parts, list(found))
        whole[tensor] = torch.cat([found[index][0] for index in range(parts)], dim) if parts > 1 else found[0][0]
        apart[tensor] = max(float((copies[0] - copy).norm()) for copies in found.values() for copy in copies)
    return {"losses": [result["loss"] for result in results], "gradients": whole, "apart": apart, "results": results}
