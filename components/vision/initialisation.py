"""Fresh towers that can learn: what was read must not be buried under the first blocks, and positions must differ.

Every block of a tower adds, at first, a random vector of about unit size to the residual stream. The patch projection
and the position table write into that stream; drawn as small as the other matrices (0.02), or left constant (some
learned position tables of transformers start at ones), they drown, and the tower learns slowly or not where things are.
"""

from math import sqrt

import torch
from torch import Tensor, nn

STREAM_RMS = 3.0  # of what is written into the residual stream, against about 1 from every block
TABLE_STD = 1.5  # of a position vector; two of them, for row and column, add up to about 2


@torch.no_grad()
def initialise_tower(tower: nn.Module) -> tuple[str, ...]:
    """Redraw the input projection and every constant table of a fresh tower, in place.

    The input projection is the tower's first linear or convolution, in the order of its modules: inputs of about unit
    size give outputs of RMS `STREAM_RMS`. A constant table is a parameter of two or more dimensions whose entries are
    all the same. Vectors and scalars stay: norms start at ones, biases at zeros, on purpose.

    Returns:
        Names of the parameters redrawn. Numbers come from torch's own generator.
    """
    redrawn = []
    projection = maybe_input_projection(tower)
    for name, parameter in tower.named_parameters():
        if projection is not None and parameter is projection.weight:
            parameter.normal_(0.0, STREAM_RMS / sqrt(parameter[0].numel()))
        elif parameter.ndim >= 2 and is_constant(parameter):
            parameter.normal_(0.0, TABLE_STD)
        else:
            continue
        redrawn.append(name)
    return tuple(redrawn)


def maybe_input_projection(tower: nn.Module) -> nn.Linear | nn.Conv2d | nn.Conv3d | None:
    """The first linear or convolution of a tower; None if it has none."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return next((module for module in tower.modules() if isinstance(module, kinds)), None)


def is_constant(values: Tensor) -> bool:
    """Whether there are several entries and all are equal."""
    return values.numel() > 1 and bool((values == values.flatten()[0]).all())
