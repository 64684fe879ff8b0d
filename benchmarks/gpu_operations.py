"""What single operations reach on one card: `python benchmarks/gpu_operations.py [--out FILE] [--tiny]`.

Hardware files take their efficiencies from here: matrix products of Gemma 4 26B-A4B's widths forward and backward,
grouped products of its experts, attention by mask and head width, a norm written as a chain of elementwise operations,
how fast Python starts small kernels, and an AdamW step. Under a minute. `--tiny` runs every one at toy sizes, on a CPU
too, to see that they run.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.environment import environment

HIDDEN, DENSE, EXPERT, EXPERTS, TOP_K, WORDS = 2816, 2112, 704, 128, 8, 262_144

type Row = dict[str, Any]


def main() -> None:
    """Run everything; one line of JSON each, all of them to `--out`. One that fails is reported with its error."""
    arguments = _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for measure in (gemms, grouped_gemms, attentions, norms, launches, optimizer_steps):
        for row in _guarded(measure, device, arguments.tiny):
            rows.append(row)
            print(json.dumps(row), flush=True)
    if arguments.out:
        found = environment() if device.type == "cuda" else {"card": "CPU"}
        arguments.out.write_text(json.dumps({"environment": found, "tiny": arguments.tiny, "rows": rows}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the numbers there, as JSON")
    parser.add_argument("--tiny", action="store_true", help="toy sizes: only to see that it runs")
    return parser.parse_args()


def _guarded(measure: Callable[[torch.device, bool], Iterator[Row]], device: torch.device, tiny: bool) -> Iterator[Row]:
    try:
        yield from measure(device, tiny)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        yield {"operation": measure.__name__, "error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}


def gemms(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Linear maps of a layer, a tower's and the head's, in TFLOP/s forward and backward (both gradients)."""
    rows = 64 if tiny else 4096
    shapes = {
        "qkv sliding": (HIDDEN, 32 * 256),
        "projection sliding": (16 * 256, HIDDEN),
        "qkv full": (HIDDEN, 18 * 512),
        "dense gate and up": (HIDDEN, 2 * DENSE),
        "dense down": (DENSE, HIDDEN),
        "tower gate": (1152, 4304),
        "head": (HIDDEN, WORDS),
        "square 8192": (8192, 8192),
    }
    for name, (inner, outer) in shapes.items():
        if tiny:
            inner, outer = 32, 64  # noqa: PLW2901
        x = torch.randn(rows, inner, device=device, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.randn(outer, inner, device=device, dtype=torch.bfloat16, requires_grad=True)
        yield _both(
            f"gemm, {name}",
            lambda x=x, weight=weight: functional.linear(x, weight),
            (x, weight),
            2 * rows * inner * outer,
        )


def grouped_gemms(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Expert products over even groups, as transformers' `grouped_mm` runs them."""
    tokens, experts = (64, 4) if tiny else (4096 * TOP_K, EXPERTS)
    widths = {"up": (32, 64), "down": (32, 32)} if tiny else {"up": (HIDDEN, 2 * EXPERT), "down": (EXPERT, HIDDEN)}
    ends = torch.arange(1, experts + 1, device=device, dtype=torch.int32) * (tokens // experts)
    product: Any = getattr(functional, "grouped_mm", None) or torch._grouped_mm  # noqa: SLF001
    for name, (inner, outer) in widths.items():
        x = torch.randn(tokens, inner, device=device, dtype=torch.bfloat16, requires_grad=True)
        weight = torch.randn(experts, inner, outer, device=device, dtype=torch.bfloat16, requires_grad=True)
        run = lambda x=x, weight=weight: product(x, weight, offs=ends)  # noqa: E731
        yield _both(f"grouped gemm, {name}", run, (x, weight), 2 * tokens * inner * outer)


def attentions(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Attention of 16 heads at S = 4096; TFLOP/s of what the kernel is given: half of all pairs where causal."""
    seq, heads = (64, 2) if tiny else (4096, 16)
    causal = torch.ones(seq, seq, dtype=torch.bool, device=device).tril()
    for width in (64,) if tiny else (128, 256, 512):
        for mask in ("causal", "dense"):
            made = {"device": device, "dtype": torch.bfloat16, "requires_grad": True}
            query, key, value = (torch.randn(1, heads, seq, width, **made) for _ in range(3))
            dense = None if mask == "causal" else causal[None, None]
            flops = 4 * seq * seq * heads * width * (0.5 if mask == "causal" else 1.0)
            run = partial(functional.scaled_dot_product_attention, query, key, value, dense, is_causal=mask == "causal")
            try:
                yield _both(f"attention, {mask}, head width {width}", run, (query, key, value), flops, backward=2.5)
            except RuntimeError as error:
                name = f"attention, {mask}, head width {width}"
                yield {"operation": name, "error": str(error).splitlines()[0]}


def norms(device: torch.device, tiny: bool) -> Iterator[Row]:
    """An RMS norm as six operations in float32; bytes that those read and write, of bf16 input and output."""
    rows, width = (64, 32) if tiny else (4096 * 8, HIDDEN)
    x = torch.randn(rows, width, device=device, dtype=torch.bfloat16)
    weight = torch.ones(width, device=device, dtype=torch.bfloat16)
    moved = x.numel() * (
        2 + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 2
    )  # cast, square, mean, times root, times weight, cast

    def chain() -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        return (normed * weight.float()).type_as(x)

    seconds = _seconds(chain, device)
    yield {"operation": "norm, unfused", "milliseconds": seconds * 1e3, "gb_per_second": moved / seconds / 1e9}
    fused = lambda: functional.rms_norm(x, (width,), weight, 1e-6)  # noqa: E731
    seconds = _seconds(fused, device)
    moved = x.numel() * 4
    yield {"operation": "norm, fused", "milliseconds": seconds * 1e3, "gb_per_second": moved / seconds / 1e9}
    seconds = _seconds(lambda: x + x, device)
    yield {"operation": "addition", "milliseconds": seconds * 1e3, "gb_per_second": x.numel() * 6 / seconds / 1e9}


def launches(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Microseconds that the host takes per kernel: tiny operations, of norms and gated networks, with autograd.

    Each operation is so small that the card always waits for the host.
    """
    layers = 4 if tiny else 100
    weights = [torch.randn(64, 64, device=device, requires_grad=True) for _ in range(layers)]
    scales = [torch.ones(64, device=device, requires_grad=True) for _ in range(layers)]
    x = torch.randn(16, 64, device=device, requires_grad=True)

    def forward() -> Tensor:
        hidden = x
        for weight, scale in zip(weights, scales, strict=True):
            normed = hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + 1e-6) * scale
            hidden = hidden + functional.silu(functional.linear(normed, weight)) * normed
        return hidden

    kernels = 10 * layers  # square, mean, add, rsqrt, two products, linear, silu, product, addition
    ahead = _host_seconds(forward, device)
    with torch.no_grad():
        bare = _host_seconds(forward, device)
    both = _host_seconds(lambda: forward().sum().backward(), device)
    yield {"operation": "launch, no autograd", "kernels": kernels, "microseconds": bare / kernels * 1e6}
    yield {"operation": "launch, forward", "kernels": kernels, "microseconds": ahead / kernels * 1e6}
    yield {
        "operation": "launch, backward, per kernel of the forward pass",
        "kernels": kernels,
        "microseconds": (both - ahead) / kernels * 1e6,
    }


def optimizer_steps(device: torch.device, tiny: bool) -> Iterator[Row]:
    """A fused AdamW step over fp32 parameters; bytes: reads 4 numbers of 4 bytes, writes 3."""
    tensors, width = (2, 64) if tiny else (16, 4096)
    made = [torch.nn.Parameter(torch.randn(width, width, device=device)) for _ in range(tensors)]
    for parameter in made:
        parameter.grad = torch.randn_like(parameter)
    for fused in (True, False):
        optimizer = torch.optim.AdamW(made, lr=1e-4, fused=fused, foreach=not fused)
        seconds = _seconds(optimizer.step, device)
        moved = sum(parameter.numel() for parameter in made) * 28
        name = "AdamW, fused" if fused else "AdamW, foreach"
        yield {"operation": name, "milliseconds": seconds * 1e3, "gb_per_second": moved / seconds / 1e9}


def _both(
    name: str, forward: Callable[[], Tensor], leaves: tuple[Tensor, ...], flops: float, backward: float = 2.0
) -> Row:
    """TFLOP/s forward, and of the backward pass (`backward` times the FLOPs) as both passes less the first."""
    output = forward()
    gradient = torch.randn_like(output)
    device = output.device
    ahead = _seconds(forward, device)
    total = _seconds(lambda: torch.autograd.grad(forward(), leaves, gradient), device)
    return {
        "operation": name,
        "forward_ms": ahead * 1e3,
        "backward_ms": (total - ahead) * 1e3,
        "forward_tflops": flops / ahead / 1e12,
        "backward_tflops": flops * backward / max(total - ahead, 1e-9) / 1e12,
    }


def _seconds(run: Callable[[], object], device: torch.device, times: int = 12, warmup: int = 3) -> float:
    """Median seconds on the device; back to back, so that the host does not count where the device is busy."""
    for _ in range(warmup):
        run()
    if device.type != "cuda":
        return statistics.median(_wall(run) for _ in range(times))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(marks)) / 1e3


def _host_seconds(run: Callable[[], object], device: torch.device, times: int = 7) -> float:
    """Median wall seconds until the device is done."""

    def once() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    once()
    return statistics.median(_wall(once) for _ in range(times))


def _wall(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
