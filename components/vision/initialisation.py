"""Fresh towers that can learn: parameters that every position of a table shares are told apart.

A table whose entries are all equal (transformers leaves some learned position tables at ones) gives every position the
same vector and, at first, the same gradient; a model trained from there barely learns where things are.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def redraw_constant_tables(module: nn.Module, std: float = 1.0, generator: torch.Generator | None = None) -> tuple[str, ...]:
    """Draw anew, normally distributed, every parameter of two or more dimensions whose entries are all the same.

    Vectors and scalars stay: norms start at ones, biases at zeros, on purpose.

    Args:
        module: a freshly initialised tower, changed in place.
        std: standard deviation of the entries.
        generator: where the numbers come from; torch's own by default.

    Returns:
        Names of the parameters redrawn.
    """
    redrawn = []
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2 and is_constant(parameter):
            parameter.copy_(torch.empty_like(parameter, device="cpu").normal_(0.0, std, generator=generator))
            redrawn.append(name)
    return tuple(redrawn)


def is_constant(values: Tensor) -> bool:
    """Whether there are several entries and all are equal."""
    return values.numel() > 1 and bool((values == values.flatten()[0]).all())
