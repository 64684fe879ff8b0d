"""Executions and sizes in words, as people write them."""

from composer.plans.answer import GIB, Memory
from composer.plans.execution import Execution
from composer.plans.interval import Interval


def execution_words(execution: Execution) -> str:
    """What sets an execution apart, sizes of one left out: `tp2 pp4 ep8 dp16, micro-batch 2, full recomputation`."""
    layout = execution.layout
    sizes = [f"{name}{size}" for name, size in _sizes(execution).items() if size > 1]
    parts = [" ".join(sizes) or "one GPU"]
    if layout.sequence_parallel:
        parts.append("sequence parallel")
    if layout.first_stage_layers is not None or layout.last_stage_layers is not None:
        ends = (layout.first_stage_layers, layout.last_stage_layers)
        parts.append("{} layers first, {} last".format(*("as many" if each is None else each for each in ends)))
    parts.append(f"micro-batch {execution.micro_batch}")
    if layout.recompute != "none":
        parts.append(f"{layout.recompute} recomputation")
    if execution.engine == "deepspeed":
        parts.append(f"ZeRO-{execution.zero.stage}{' with offload' if execution.zero.offload else ''}")
    elif execution.distributed_optimizer:
        parts.append("distributed optimizer")
    return ", ".join(parts)


def _sizes(execution: Execution) -> dict[str, int]:
    layout = execution.layout
    return {
        "tp": layout.tp,
        "pp": layout.pp,
        "vp": layout.virtual_stages,
        "cp": layout.cp,
        "ep": layout.ep,
        "etp": layout.etp,
        "dp": execution.data_ranks,
    }


def gib(count: float) -> str:
    """Bytes as GiB."""
    return f"{count / GIB:.1f} GiB"


def seconds(interval: Interval) -> str:
    """`1.20 s (1.02 – 1.38)`."""
    digits = 3 if interval.likely < 1 else 2
    return f"{interval.likely:.{digits}f} s ({interval.low:.{digits}f} – {interval.high:.{digits}f})"


def largest(memory: Memory, count: int = 2) -> str:
    """The largest components of a memory, with their sizes."""
    parts = sorted(memory.components().items(), key=lambda part: -part[1])[:count]
    return ", ".join(f"{name} {gib(size)}" for name, size in parts)
