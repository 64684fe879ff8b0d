"""Bytes on each GPU of a training job, by component: what a plan says before anything is run.

Exact integers where the engines' tensors are known (parameters, gradients, optimizer, what autograd keeps); read from
their code and checked on a card where many tensors live for a moment (`transient`).
"""

from composer.plans.memory.ranks import leanest, memory_of

__all__ = ["leanest", "memory_of"]
