"""This project's own measured steps (docs/performance.md) beside estimates: `python -m benchmarks.planner.own_steps`.

One H100, widths of Gemma 4 26B-A4B, 6 layers, 4096 tokens, 12 images of 256 tokens, tower frozen, forward and backward
without an optimizer and without sums of gradients. The host there takes longer to start a kernel than the shipped file
says; its own number is measured (`h100_operations.json`).
"""

import json
from pathlib import Path
from typing import Any, Literal

from attrs import evolve

from adapters.plans.inventory import inventory
from components.language.costs.decoder import GptCosts
from composer import Graph, load
from composer.edges import MaskEdge
from composer.plans.answer import StepTime
from composer.plans.execution import Execution
from composer.plans.hardware import Hardware
from composer.plans.hardware_file import load_hardware
from composer.plans.interval import Interval
from composer.plans.job import Job
from composer.plans.model import PlannedModel
from composer.plans.time import time_of
from composer.plans.time.operation import Rates
from composer.plans.time.sharing import accumulated_bytes

HERE = Path(__file__).parent
MEASURED: dict[Literal["local", "transformer_engine"], float] = {"local": 1.198, "transformer_engine": 0.555}
LAYERS = 6


def main() -> None:
    """Each step, estimated and measured."""
    model, hardware = wide_model(), measured_host()
    for implementation, seconds in MEASURED.items():
        total = step(model, hardware, implementation).total
        print(
            f"{implementation}: measured {seconds * 1e3:.0f} ms, estimated {total.likely * 1e3:.0f} ms "
            f"({total.low * 1e3:.0f} to {total.high * 1e3:.0f}), {total.likely / seconds - 1:+.0%}"
        )


def measured_host() -> Hardware:
    """An H100 whose host starts kernels as the measured one does."""
    rows = json.loads((HERE / "h100_operations.json").read_text())["rows"]
    launch = next(row["microseconds"] for row in rows if row["operation"] == "launch, forward")
    return evolve(load_hardware("h100"), launch_us=launch)


def wide_model() -> PlannedModel:
    """The shipped spec, cut to its first layers."""
    graph = _graph()
    found = inventory(graph)
    rules = next(edge for edge in graph.edges if isinstance(edge, MaskEdge)).rules
    trained = frozenset(each.name for each in found.parameters if each.node != "vision_tower")
    return PlannedModel(found, "language_model", GptCosts(graph.decoder().config), dict(rules), trained)


def step(model: PlannedModel, hardware: Hardware, implementation: Literal["local", "transformer_engine"]) -> StepTime:
    """Without optimizer, and without adding gradients to their sums."""
    job = Job(1, 4096, 1, images=12, image_tokens=256, implementation=implementation)
    time = time_of(model, job, Execution(1), hardware)
    added = sum(tally.trained for tally in model.tallies) * accumulated_bytes(job.element)
    seconds = added / Rates.of(hardware, job.precision).memory
    computed = time.nodes[model.decoder_node] + Interval.exact(-seconds)
    return evolve(time, optimizer=Interval.exact(0), nodes={**time.nodes, model.decoder_node: computed})


def _graph() -> Graph:
    spec = HERE.parents[1] / "specs" / "gemma4_vl.yaml"
    configured: dict[str, Any] = dict(load(spec).hf_config)
    text = configured["text_config"]
    cut = {"layer_types": text["layer_types"][:LAYERS], "num_hidden_layers": LAYERS}
    return load(spec, hf={**configured, "text_config": {**text, **cut}})


if __name__ == "__main__":
    main()
