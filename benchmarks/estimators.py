"""Memory as others estimate it, beside ours: `python -m benchmarks.estimators [--out docs/planning-estimators.md]`.

Megatron-LM's formula (`benchmarks/planner/peer_formulas.py`) and DeepSpeed's own functions, called.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from attrs import frozen

from adapters.plans.inventory import inventory
from benchmarks.planner.parameters import planned
from benchmarks.planner.peer_formulas import MegatronSizes, activations, weights_and_optimizer
from benchmarks.planner.plain_gpt import plain_gpt
from benchmarks.planner.text_models import qwen3_section
from benchmarks.published_rows import ROWS
from components.language.costs.decoder import GptCosts
from composer import load
from composer.edges import MaskEdge
from composer.plans.answer import GIB, Memory
from composer.plans.execution import Execution
from composer.plans.hardware_file import load_hardware
from composer.plans.job import Job
from composer.plans.layout import Layout, Zero
from composer.plans.memory import memory_of
from composer.plans.model import PlannedModel

SEQ = 4096
QWEN_8B = MegatronSizes(36, 4096, 32, 8, 128, 12_288, 151_936, tied=False)
QWEN_30B = MegatronSizes(48, 2048, 32, 4, 128, 6144, 151_936, tied=False, experts=128, expert_ffn=768)
GEMMA = MegatronSizes(30, 2816, 16, 8, 256, 2112, 262_144, tied=True, experts=128, expert_ffn=704, shared_ffn=2112)
"""Megatron-LM's arguments are of one layer kind: that of sliding layers, with the dense branch as a shared expert."""


@frozen
class Configuration:
    """A model and how it runs on GPUs of one node."""

    name: str
    model: PlannedModel
    sizes: MegatronSizes
    execution: Execution
    images: int = 0

    @property
    def memory(self) -> Memory:
        """Ours, of the fullest rank."""
        job = Job(self.execution.gpus, SEQ, 64, images=self.images)
        ranks = memory_of(self.model, job, self.execution, load_hardware("h100"))
        return max((rank.memory for rank in ranks), key=lambda memory: memory.total)


def main() -> None:
    """The page, printed or written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the page there")
    out = parser.parse_args().out
    page = "\n".join(_page()) + "\n"
    if out:
        out.write_text(page, encoding="utf-8")
    else:
        print(page)


HEAD = f"""# Memory as others estimate it

Made by `python -m benchmarks.estimators --out docs/planning-estimators.md`, not by hand. GiB of the fullest GPU; bf16,
{SEQ} tokens, 64 samples a step, micro-batch 1. Estimates beside estimates: what was measured is in
[performance.md](performance.md).

## Megatron-LM's theoretical memory

`report_theoretical_memory` of Megatron-LM prints two numbers. States: weights, gradients and optimizer. Ours adds what
the formula has no word for: towers, logits, messages, what lives for a moment, and a reserve.

| | states: formula | states: ours | activations: formula | activations: ours | ours in all |
|---|---|---|---|---|---|"""
DEEPSPEED = """
The formula divides parameters by tensor- and pipeline-parallel ranks, never by expert-parallel ones, so a mixture of
experts looks several times too large. It knows one kind of layer, and in activations neither the width of attention
nor the tokens that experts are sent; it counts no towers, and everything trains.

## DeepSpeed's estimators

`estimate_zero2_model_states_mem_needs` and `estimate_zero3_model_states_mem_needs`, called with the number of
parameters and the largest parameter. They know states only: no activations, no logits. The parameters that ZeRO-3
gathers for a moment are in theirs, and not among states in ours.

| | states: DeepSpeed | states: ours | ours in all |
|---|---|---|---|"""
PUBLISHED = """
## Megatron's published table

arXiv 2205.05198, GiB. Published: parameters and optimizer of layers alone (no embedding); activations of the first
pipeline rank, everything kept, then sequence parallelism with selective recomputation. Ours: states of the first rank,
with its embedding, and of a middle one.

| | states: published | ours, first | ours, middle | activations: published | ours |
|---|---|---|---|---|---|"""


def _page() -> Iterator[str]:
    yield HEAD
    yield from map(_beside_megatron, _megatron())
    yield DEEPSPEED
    yield from _beside_deepspeed()
    yield PUBLISHED
    yield from map(_published, published_memory())


def _beside_megatron(each: Configuration) -> str:
    execution, memory = each.execution, each.memory
    states = weights_and_optimizer(
        each.sizes, execution.layout, execution.data_ranks, distributed=execution.distributed_optimizer
    )
    kept = activations(each.sizes, execution.layout, SEQ, execution.micro_batch, execution.micro_batches(64))
    own = memory.weights + memory.gradients + memory.optimizer
    cells = (states, own, kept, memory.activations, memory.total)
    return f"| {each.name} | " + " | ".join(f"{cell / GIB:.1f}" for cell in cells) + " |"


def _megatron() -> Iterator[Configuration]:
    qwen_8b = planned(qwen3_section("8b"), "Qwen3-8B")
    qwen_30b = planned(qwen3_section("30b"), "Qwen3-30B-A3B")
    split = Layout(tp=2, sequence_parallel=True, recompute="selective")
    yield Configuration("Qwen3-8B, 8 GPUs, DP8", qwen_8b, QWEN_8B, Execution(8, Layout(), 1, True))
    yield Configuration("Qwen3-8B, 8 GPUs, TP2, selective", qwen_8b, QWEN_8B, Execution(8, split, 1, True))
    yield Configuration(
        "Qwen3-8B, 8 GPUs, TP2 PP2, selective",
        qwen_8b,
        QWEN_8B,
        Execution(8, Layout(tp=2, pp=2, sequence_parallel=True, recompute="selective"), 1, True),
    )
    yield Configuration("Qwen3-30B-A3B, 8 GPUs, EP8", qwen_30b, QWEN_30B, Execution(8, Layout(ep=8), 1, True))
    yield Configuration(
        "Gemma 4 26B-A4B, 8 GPUs, EP8, 4 images", gemma(), GEMMA, Execution(8, Layout(ep=8), 1, True), 4
    )
    yield Configuration("the same, tower frozen", gemma("vision_tower"), GEMMA, Execution(8, Layout(ep=8), 1, True), 4)
    yield Configuration(
        "the same, only the projector trains",
        gemma("vision_tower", "language_model"),
        GEMMA,
        Execution(8, Layout(ep=8), 1, True),
        4,
    )


def _beside_deepspeed() -> Iterator[str]:
    logging.disable(logging.WARNING)
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    models = {
        "Qwen3-8B": (planned(qwen3_section("8b"), "Qwen3-8B"), QWEN_8B),
        "Gemma 4 26B-A4B, 4 images": (gemma(), GEMMA),
    }
    for name, (model, sizes) in models.items():
        total = model.inventory.total
        largest = max(each.size for each in model.inventory.parameters)
        _, two = estimate_zero2_model_states_mem_needs(total, 8, 1, cpu_offload=False)
        _, three, _ = estimate_zero3_model_states_mem_needs(total, largest, 8, 1, cpu_offload=False)
        for zero, peer in ((Zero(2), two), (Zero(3), three)):
            execution = Execution(8, Layout(), 1, engine="deepspeed", zero=zero)
            images = 4 if "images" in name else 0
            memory = Configuration(name, model, sizes, execution, images).memory
            own, row = memory.weights + memory.gradients + memory.optimizer, f"{name}, 8 GPUs, ZeRO-{zero.stage}"
            yield f"| {row} | {peer / GIB:.1f} | {own / GIB:.1f} | {memory.total / GIB:.1f} |"


@frozen
class PublishedMemory:
    """GiB of a row of Megatron's table. states: of layers; kept: activations, everything and then selective."""

    name: str
    states: float
    kept: tuple[float, float]
    first: float
    middle: float | None
    own_kept: tuple[float, float]


def published_memory() -> Iterator[PublishedMemory]:
    """Published and ours."""
    for row in yaml.safe_load(ROWS.read_text())["megatron_2022"]["rows"]:
        everything, chosen = (_ranks(row, recompute) for recompute in ("none", "selective"))
        states = [(each.weights + each.gradients + each.optimizer) / GIB for each in chosen]
        yield PublishedMemory(
            row["name"],
            row["memory"]["states"],
            (row["memory"]["none"], row["memory"]["selective"]),
            states[0],
            states[len(states) // 2] if len(states) > 1 else None,
            (everything[0].activations / GIB, chosen[0].activations / GIB),
        )


def _ranks(row: dict[str, Any], recompute: Literal["none", "selective"]) -> list[Memory]:
    layout = Layout(
        tp=row["tp"],
        pp=row["pp"],
        virtual_stages=row["virtual"],
        sequence_parallel=recompute == "selective",
        recompute=recompute,
    )
    model, job = plain_gpt(row["layers"], row["hidden"], row["heads"]), Job(row["gpus"], 2048, row["batch"], images=0)
    ranks = memory_of(model, job, Execution(row["gpus"], layout, row["micro"]), load_hardware("a100"))
    return [rank.memory for rank in ranks]


def _published(row: PublishedMemory) -> str:
    middle = "–" if row.middle is None else f"{row.middle:.2f}"
    theirs, own = (f"{kept[0]:.2f} → {kept[1]:.2f}" for kept in (row.kept, row.own_kept))
    return f"| {row.name} | {row.states:.2f} | {row.first:.2f} | {middle} | {theirs} | {own} |"


def gemma(*frozen_nodes: str) -> PlannedModel:
    """The shipped spec; nodes that do not train."""
    graph = load(Path(__file__).parents[1] / "specs" / "gemma4_vl.yaml")
    found = inventory(graph)
    rules = next(edge for edge in graph.edges if isinstance(edge, MaskEdge)).rules
    trained = frozenset(each.name for each in found.parameters if each.node not in frozen_nodes)
    return PlannedModel(found, "language_model", GptCosts(graph.decoder().config), dict(rules), trained)


if __name__ == "__main__":
    main()
