"""How long a search for a layout takes: `python benchmarks/plan_search.py`; processor seconds, caches cold."""

import argparse
import time
from collections import Counter
from pathlib import Path

import specs
from adapters.plans.planned import planned_model
from composer import load
from composer.plans.hardware_file import load_hardware
from composer.plans.job import Job
from composer.plans.planner import Planner
from composer.plans.search.reasons import obvious_layouts, reasons
from composer.plans.search.search import search
from composer.plans.search.space import Space


def main() -> None:
    """Gemma 4 26B-A4B on some GPUs, everything training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=1024)
    parser.add_argument("--seq", type=int, default=8192)
    parser.add_argument("--global-batch", type=int, default=4096)
    parser.add_argument("--images", type=int, default=4)
    asked = parser.parse_args()
    model = planned_model(load(Path(str(specs.__file__)).parent / "gemma4_vl.yaml"))
    hardware = load_hardware("h100")
    begin = time.process_time()
    planner = Planner(model, Job(asked.gpus, asked.seq, asked.global_batch, asked.images), hardware, 0.9)
    frames = planner.frames(Space(), Counter())
    found = search(planner, frames)
    searched = time.process_time() - begin
    print(f"{found.considered:,} executions, {found.opened:,} looked at one by one: {searched:.2f} s")
    if found.best:
        told = reasons(planner, frames, found.best[0], obvious_layouts(hardware.node_gpus, asked.gpus, 128))
        print(f"{len(told)} obvious layouts compared: {time.process_time() - begin - searched:.2f} s")


if __name__ == "__main__":
    main()
