"""The learning rate over a stage: linear warm-up, then half a cosine."""

import math

from attrs import frozen


@frozen
class Schedule:
    """peak and end: learning rates; warmup and total: optimizer steps."""

    peak: float
    end: float
    warmup: int
    total: int

    def lr(self, step: int) -> float:
        """Learning rate of step 0, 1, …, total − 1. The first step is not zero, and the last is just above `end`."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        return self.end + (self.peak - self.end) * 0.5 * (1 + math.cos(math.pi * progress))
