"""A training step beside transformers' on one card: `python benchmarks/gpu_step.py [--length 4096] [--layers 6]`.

26B-A4B widths with fewer layers, bfloat16, one row of text and pictures of 256 tokens each, frozen tower, forward and
backward without an optimizer. One model is on the card at a time; time is the median of the steps, memory the peak.
"""

import argparse
import gc
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.megatron import build
from adapters.parity.batch import Batch
from benchmarks.environment import environment
from benchmarks.wide_model import wide_batch, wide_graph
from components.hf_config import to_hf_config
from composer import Graph, load

GAP = 64
PEER = "transformers, sdpa + grouped_mm"


def main() -> None:
    """Measure every contender; one that fails is reported with its error."""
    arguments = _arguments()
    order = load(Path(__file__).resolve().parents[1] / "specs" / "gemma4_vl.yaml").decoder().config.layers.order
    graph = wide_graph(list(order[: arguments.layers]))
    batch = wide_batch(graph, arguments.length, GAP)
    images = int(batch.images_per_sample.sum())
    contenders: dict[str, Callable[..., Any]] = {
        PEER: lambda: _peer(graph, batch),
        "composed, local": lambda: _composed(graph, batch, "local"),
        "composed, Transformer Engine": lambda: _composed(graph, batch, "transformer_engine"),
    }
    rows = [_measured(name, step, arguments) for name, step in contenders.items()]
    peer = next((row["milliseconds"] for row in rows if row["contender"] == PEER), None)
    for row in rows:
        row["ratio"] = row["milliseconds"] / peer if peer and row["milliseconds"] else None
        print(json.dumps(row))
    setting = {"length": arguments.length, "layers": arguments.layers, "images": images, "steps": arguments.steps}
    if arguments.out:
        arguments.out.write_text(json.dumps({"environment": environment(), "setting": setting, "rows": rows}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=4096, help="tokens of the row")
    parser.add_argument("--layers", type=int, default=6, help="decoder layers, in the order of the configuration")
    parser.add_argument("--steps", type=int, default=7, help="timed steps")
    parser.add_argument("--warmup", type=int, default=3, help="steps before")
    parser.add_argument("--out", type=Path, help="also write the numbers there, as JSON")
    return parser.parse_args()


def _measured(name: str, made: Callable[..., Any], arguments: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"contender": name, "milliseconds": None, "gibibytes": None}
    try:
        with made() as (model, step):
            row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
            for _ in range(arguments.warmup):
                row["loss"] = _step(model, step)
            torch.cuda.reset_peak_memory_stats()
            times = [_timed(model, step) for _ in range(arguments.steps)]
            row |= {"milliseconds": statistics.median(times), "fastest": min(times), "slowest": max(times)}
            row["gibibytes"] = torch.cuda.max_memory_allocated() / 2**30
    except (RuntimeError, ValueError) as error:
        row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    gc.collect()
    torch.cuda.empty_cache()
    return row


def _step(model: torch.nn.Module, loss: Callable[[], Tensor]) -> float:
    model.zero_grad(set_to_none=True)
    value = loss()
    value.backward()
    return float(value.detach())


def _timed(model: torch.nn.Module, loss: Callable[[], Tensor]) -> float:
    """Milliseconds of one step."""
    model.zero_grad(set_to_none=True)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    loss().backward()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end))


@contextmanager
def _peer(graph: Graph, batch: Batch) -> Iterator[tuple[torch.nn.Module, Callable[[], Tensor]]]:
    import transformers

    assert graph.hf is not None
    architecture = getattr(transformers, str(graph.architecture))
    kernels = {"attn_implementation": "sdpa", "experts_implementation": "grouped_mm"}
    with torch.device("cuda"):
        model = architecture._from_config(to_hf_config(graph.hf_config), dtype=torch.bfloat16, **kernels)  # noqa: SLF001
    model.train()
    model.model.vision_tower.requires_grad_(False)
    labels = torch.full_like(batch.labels, -100)
    labels[:, 1:] = batch.labels[:, :-1].masked_fill(~batch.loss_mask[:, :-1], -100)
    inputs = {"mm_token_type_ids": batch.token_types, "use_cache": False, **_features(batch)}
    yield model, lambda: model(input_ids=batch.input_ids, labels=labels, **inputs).loss


@contextmanager
def _composed(graph: Graph, batch: Batch, implementation: str) -> Iterator[tuple[Any, Callable[[], Tensor]]]:
    model = build(graph, dtype=torch.bfloat16, transformer_impl=implementation)
    model.freeze(freeze_vision_model=True)
    model.train()
    mask = batch.loss_mask.float()

    def loss() -> Tensor:
        losses, counted = model(input_ids=batch.input_ids, labels=batch.labels, loss_mask=mask, **_features(batch))
        return (losses * counted).sum() / counted.sum()

    yield model, loss


def _features(batch: Batch) -> dict[str, Tensor]:
    pixels, places = batch.features["pixel_values"], batch.features["image_position_ids"]
    return {"pixel_values": pixels.bfloat16(), "image_position_ids": places}


if __name__ == "__main__":
    main()
