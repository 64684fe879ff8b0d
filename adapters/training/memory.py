"""The most memory this process has held."""

import resource

import torch

GIB = 2**30


def peak_memory_gib() -> float:
    """GiB since the process began: allocated on the GPU; where there is none, the largest resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB  # Linux counts in KiB
