"""Seconds of one operation on one GPU, and of the host that starts it."""

from attrs import frozen

from composer.plans.costs import Work
from composer.plans.hardware import Hardware

BACKWARD_LAUNCHES = 1.6
"""Kernels of the backward pass for one of the forward pass; counted on running models (1.5 to 1.7)."""
BACKWARD_PYTHON = 0.54
"""Likewise, of what the host does beside starting kernels (work without bytes or FLOPs): autograd is not Python."""


@frozen
class Rates:
    """What one GPU reaches with one precision: FLOP/s by kind of operation, bytes/s, and seconds of a launch."""

    gemm: float
    grouped_gemm: float
    attention: float
    memory: float
    launch: float

    @classmethod
    def of(cls, hardware: Hardware, precision: str) -> "Rates":
        """From peaks and efficiencies."""
        peak = (hardware.tflops if precision == "bf16" else hardware.fp32_tflops) * 1e12
        reached = hardware.efficiency
        return cls(
            peak * reached.gemm,
            peak * reached.grouped_gemm,
            peak * reached.attention,
            hardware.memory_gbs * 1e9 * reached.elementwise,
            hardware.launch_us * 1e-6,
        )

    def seconds(self, work: Work) -> float:
        """Of the forward pass: as long as computing or moving takes, whichever is longer."""
        computing = work.flops / getattr(self, work.kind) if work.flops else 0.0
        return max(computing, work.bytes / self.memory) * work.slowdown


def model_flops(work: Work) -> float:
    """What the model asks for in the forward pass; of attention, the pairs that its mask allows."""
    return work.flops if work.model_flops is None else work.model_flops
