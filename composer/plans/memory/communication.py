"""Buffers of messages that are no tensor of the model.

Gradients and parameters travel within the buffers that hold them. What NCCL itself takes is in the hardware's reserve.
"""

from functools import cache

from composer.plans.costs import Setting
from composer.plans.execution import Execution
from composer.plans.memory.activations import table_of
from composer.plans.model import PlannedModel

BUCKET = 50_000_000
"""Elements that DeepSpeed sends at once, as `adapters.deepspeed.config` sets it."""


def communication(model: PlannedModel, setting: Setting, execution: Execution) -> int:
    """Bytes on one rank, beside what the schedule has received and keeps."""
    if execution.engine == "deepspeed":
        buckets = 2 if execution.overlap else 1
        return 4 * BUCKET * buckets if execution.zero.stage else 0
    return _buffers(model, setting, execution.layout.pp > 1)


@cache
def _buffers(model: PlannedModel, setting: Setting, pipeline: bool) -> int:
    layout, width = setting.layout, table_of(model)[1]
    inner = setting.micro_batch * setting.seq // layout.cp * width * setting.element
    outer = inner // layout.tp if layout.sequence_parallel else inner
    # Megatron-Core gathers sequence-parallel inputs of projections in a buffer that it keeps.
    gathered = inner if layout.sequence_parallel else 0
    # One activation arrives and one gradient leaves, or the other way round.
    return gathered + (2 * outer if pipeline else 0)
