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
from tests.distributed.batches import GlobalBatch, global_batches
from tests.distributed.graphs import VARIANTS, tiny
from tests.distributed.layouts import COMBINED, FAULTS, LAYOUTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="session")
def single(folder):
    """Loss, gradients and images of each variant and global batch on this one process, by plain autograd."""
    torch.set_num_threads(1)
    found = {}
    for variant in VARIANTS:
        graph = tiny(variant)
        oracle = build_oracle(graph)
        with no_progress_bars():
            oracle.save_pretrained(folder / variant)
        model = build(graph).train()
        import_weights(model, folder / variant)
        for data, batch in global_batches(make_batch(graph, oracle)).items():
            torch.save(batch.micro_batches, folder / f"{variant}.{data}.pt")
            found[variant, data] = _alone(model, graph, batch)
    return found


def _alone(model, graph, batch: GlobalBatch):
    """No schedule, no wrapper: losses of all samples summed, divided by the tokens that count."""
    model.zero_grad(set_to_none=True)
    losses = [model(**each) for each in batch.alone]
    tokens = sum(mask.sum() for _, mask in losses)
    loss = sum((loss * mask).sum() for loss, mask in losses) / tokens
    loss.backward()
    images = [0 if each["pixel_values"] is None else len(each["pixel_values"]) for each in batch.micro_batches]
    return {"loss": float(loss.detach()), "gradients": gradients(model, graph), "images": images}


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
