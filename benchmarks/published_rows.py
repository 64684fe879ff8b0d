"""Estimated beside published step times: `python -m benchmarks.published_rows [--out FILE]`.

Rows are in `benchmarks/planner/rows.yaml`. The constants of specs/hardware/a100.yaml are fitted to the rows that say
so, of Megatron's table of 2022; all others are held out. H100 constants are measured on single operations. With
`--fit`, the fit is made again and printed.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from math import exp
from pathlib import Path
from typing import Any

import yaml
from attrs import asdict, evolve, frozen

from benchmarks.planner.plain_gpt import plain_gpt
from composer.plans.calibrate import Observation, calibrate
from composer.plans.execution import Execution
from composer.plans.hardware import Efficiency, Hardware
from composer.plans.hardware_file import load_hardware
from composer.plans.job import Job
from composer.plans.layout import Layout
from composer.plans.model import PlannedModel
from composer.plans.time import time_of

ROWS = Path(__file__).parent / "planner" / "rows.yaml"
FITTED = ("gemm", "attention", "elementwise", "network")
PRIOR = Efficiency(gemm=0.8, grouped_gemm=0.6, attention=0.5, elementwise=0.75, network=0.75)
"""Where the fit of the A100 starts, and what it is held to: common shares of its peaks."""


@frozen
class Row:
    """A published step and what it is compared with."""

    name: str
    gpu: str
    fitted: bool
    observation: Observation


def main() -> None:
    """Every row's error apart, and the median over those held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit the A100 again")
    parser.add_argument("--out", type=Path, help="also write the table there, as JSON")
    arguments = parser.parse_args()
    found = list(rows())
    if arguments.fit:
        print("fitted:", fit_a100(found).efficiency)
    table = [result(row) for row in found]
    print(markdown(table))
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1))


def rows() -> Iterator[Row]:
    """All of them, as published."""
    data = yaml.safe_load(ROWS.read_text())
    yield from _megatron(data["megatron_2022"])
    yield from public(data["public_h100"])


def _megatron(data: dict[str, Any]) -> Iterator[Row]:
    for row in data["rows"]:
        model = plain_gpt(row["layers"], row["hidden"], row["heads"])
        job = Job(row["gpus"], data["seq"], row["batch"], images=0)
        for recompute in ("full", "selective"):
            layout = Layout(
                tp=row["tp"],
                pp=row["pp"],
                virtual_stages=row["virtual"],
                sequence_parallel=recompute == "selective",
                recompute=recompute,
            )
            seen = Observation(model, job, Execution(row["gpus"], layout, row["micro"]), row[recompute])
            yield Row(f"GPT {row['name']}, {recompute} recomputation", data["gpu"], row["fitted"], seen)


def public(data: dict[str, Any]) -> Iterator[Row]:
    """H100 rows; micro-batch 1, optimizer state shared out, gradients sent while computing."""
    for row in data["rows"]:
        model, images = models()[row["name"]]
        tp = row.get("tp", 1)
        layout = Layout(
            tp=tp,
            pp=row.get("pp", 1),
            virtual_stages=row.get("virtual", 1),
            ep=row.get("ep", 1),
            sequence_parallel=tp > 1,
            recompute=row.get("recompute", "none"),
        )
        job = Job(row["gpus"], data["seq"], row["batch"], images=images)
        seconds = row["batch"] * data["seq"] / (row["tokens_per_second"] * row["gpus"])
        execution = Execution(row["gpus"], layout, 1, distributed_optimizer=True, overlap=True)
        yield Row(row["name"], data["gpu"], fitted=False, observation=Observation(model(), job, execution, seconds))


def models() -> dict[str, tuple[Callable[[], PlannedModel], int]]:
    """How each is made, and images in a sample."""
    from benchmarks.planner.gemma4 import gemma4_lora, gemma4_sft
    from benchmarks.planner.mixture_models import deepseek_v3, qwen3_6_35b_a3b
    from benchmarks.planner.text_models import qwen3_8b, qwen3_30b_a3b

    return {
        "Qwen3-8B": (qwen3_8b, 0),
        "Qwen3-30B-A3B": (lambda: qwen3_30b_a3b(nodes=2), 0),
        "DeepSeek-V3": (lambda: deepseek_v3(nodes=8), 0),
        "Qwen3.6-35B-A3B VLM": (qwen3_6_35b_a3b, 1),
        "Gemma 4 26B-A4B VLM SFT": (gemma4_sft, 1),
        "Gemma 4 26B-A4B VLM LoRA": (gemma4_lora, 1),
    }


def fit_a100(found: list[Row]) -> Hardware:
    """The A100 with constants fitted to the rows that say so, and to no others."""
    start = evolve(load_hardware("a100"), efficiency=PRIOR)
    return calibrate(start, [row.observation for row in found if row.fitted], FITTED)


def result(row: Row) -> dict[str, Any]:
    """Published and estimated seconds, the error, and where the time goes."""
    hardware, seen = load_hardware(row.gpu), row.observation
    time = time_of(seen.model, seen.job, seen.execution, hardware)
    return {
        "row": row.name,
        "use": "fitted" if row.fitted else "held out",
        "published": seen.seconds,
        "estimated": asdict(time.total),
        "error": exp(seen.error(hardware)) - 1,
        "components": {name: part.likely for name, part in time.components().items() if part.likely},
    }


def held_out_median(table: list[dict[str, Any]]) -> float:
    """Median of absolute errors over the rows that nothing was fitted to."""
    return statistics.median(abs(row["error"]) for row in table if row["use"] == "held out")


def markdown(table: list[dict[str, Any]]) -> str:
    """The table, and the median under it."""
    lines = ["| row | | published, s | estimated, s | error |", "|---|---|---|---|---|"]
    for row in table:
        inside = f"{row['estimated']['likely']:.2f} ({row['estimated']['low']:.2f} to {row['estimated']['high']:.2f})"
        lines.append(f"| {row['row']} | {row['use']} | {row['published']:.2f} | {inside} | {row['error']:+.1%} |")
    held = sum(row["use"] == "held out" for row in table)
    return "\n".join([*lines, "", f"Median over the {held} rows held out: {held_out_median(table):.1%}."])


if __name__ == "__main__":
    main()
