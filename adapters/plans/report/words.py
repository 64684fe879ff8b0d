"""Numbers and executions of plans, as people read them."""

from composer.plans.answer import GIB
from composer.plans.execution import Execution
from composer.plans.interval import Interval
from composer.plans.layout import Layout

THIN = "\u202f"  # between a number and its unit, never at a line's end


def gib(count: float) -> str:
    """Bytes in GiB, one decimal; a dash for none at all."""
    if count == 0:
        return "–"
    return f"{count / GIB:.1f}" if count >= 0.05 * GIB else "< 0.1"


def seconds(value: float) -> str:
    """Seconds with a unit that leaves three digits or so."""
    if value == 0:
        return f"0{THIN}s"
    if value < 0.0995:
        return f"{value * 1000:.{1 if value < 0.00995 else 0}f}{THIN}ms"
    return f"{value:.2f}{THIN}s" if value < 9.995 else f"{value:.1f}{THIN}s"


def seconds_range(interval: Interval) -> str:
    """Both ends."""
    return f"{seconds(interval.low)} – {seconds(interval.high)}"


def rate(value: float) -> str:
    """A count per second, three digits of it."""
    digits = max(0, len(str(int(value))) - 3)
    return f"{round(value, -digits):,.0f}"


def percent(value: float, decimals: int = 0) -> str:
    """A share."""
    return f"{100 * value:.{decimals}f}%"


def count(value: int) -> str:
    """Elements of parameters, in millions or billions."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{2 if value < 100 * size else 0}f}{THIN}{unit}"
    return str(value)


def layout_words(execution: Execution) -> str:
    """Parallel sizes that are not 1, and data parallelism."""
    layout, names = execution.layout, ("tp", "pp", "cp", "ep", "etp")
    sizes = [f"{name.upper()}{THIN}{size}" for name in names if (size := getattr(layout, name)) > 1]
    if layout.virtual_stages > 1:
        sizes.append(f"VPP{THIN}{layout.virtual_stages}")
    return " · ".join([*sizes, f"DP{THIN}{execution.data_ranks}"])


def execution_words(execution: Execution) -> list[str]:
    """What else an execution says that is not as by default."""
    words = []
    if execution.engine == "deepspeed":
        offload = ", offloaded" if execution.zero.offload else ""
        words.append(f"DeepSpeed ZeRO-{execution.zero.stage}{offload}")
    if execution.distributed_optimizer:
        words.append("distributed optimizer")
    if execution.overlap:
        words.append("overlap")
    if execution.layout.sequence_parallel:
        words.append("sequence parallel")
    return words + _stage_words(execution.layout)


def _stage_words(layout: Layout) -> list[str]:
    words = []
    if layout.first_stage_layers is not None:
        words.append(f"{layout.first_stage_layers} layers first")
    if layout.last_stage_layers is not None:
        words.append(f"{layout.last_stage_layers} layers last")
    if layout.recompute != "none":
        modules = f" ({', '.join(layout.recompute_modules)})" if layout.recompute_modules else ""
        words.append(f"{layout.recompute} recompute{modules}")
    return words
