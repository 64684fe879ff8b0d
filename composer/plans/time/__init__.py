"""Seconds of a training step, by component: what is computed, what is sent, what is waited for."""

from composer.plans.time.estimate import estimate, quickest, shortest, time_of

__all__ = ["estimate", "quickest", "shortest", "time_of"]
