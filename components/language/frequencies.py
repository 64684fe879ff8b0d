"""Angles per position of one layer kind's pairs, and the table of all kinds.

Legend: W width of what rotates in a head, R columns of all kinds.
"""

import math

import torch
from torch import Tensor

from components.fusion.rotary import RotationTable
from components.language.gpt_declaration import Gpt
from components.language.rope_declaration import Rope, Scaling, section_axes
from components.language.rotation_columns import has_sections, num_rotation_columns, rotation_columns


def rotation_table(section: Gpt) -> RotationTable:
    """Frequencies, factors and axes of every column, on the CPU."""
    size = num_rotation_columns(section)
    frequencies, factors = torch.zeros(size, device="cpu"), torch.ones(size, device="cpu")
    axes = torch.zeros(size, dtype=torch.int64, device="cpu")
    scaled = False  # a number of Python: plans build models whose tensors have no values
    for kind, columns in rotation_columns(section).items():
        rope = section.layers.kinds[kind].rope
        if columns is None or rope is None:
            continue
        own = slice(columns.start, columns.stop)
        frequencies[own], factor = inverse_frequencies(columns.width, rope)
        factors[own] = factor
        scaled |= factor != 1.0
        if rope.sections is not None:
            axes[own] = torch.tensor(section_axes(rope.sections, rope.section_order), device="cpu")
    return RotationTable(frequencies, factors if scaled else None, axes if has_sections(section) else None)


def inverse_frequencies(width: int, rope: Rope) -> tuple[Tensor, float]:
    """Angle per position of each pair, and the factor on its cosine and sine.

    Args:
        width: W, even: the head, or the part of it that rotates.
        rope: of the layer kind.

    Returns:
        [W/2] float32 on the CPU, and a number.

    Source: transformers 5.23 modeling_rope_utils.py.
    """
    # On the CPU and in this order, whatever the default device: the same bits as the oracle's table.
    exponents = torch.arange(0, width, 2, dtype=torch.float, device="cpu") / width
    wavelengths = rope.theta**exponents
    frequencies, scaling = 1.0 / wavelengths, rope.scaling
    if rope.type == "proportional":
        frequencies[int(rope.partial * width // 2) :] = 0.0
    if scaling is None:
        return frequencies, 1.0
    if rope.type == "llama3":
        return _long_ones_stretched(frequencies, scaling), 1.0
    if rope.type == "yarn":
        return _stretched_by_turns(wavelengths, width, rope.theta, scaling), _attention_factor(scaling)
    return frequencies / scaling.factor, 1.0


def _long_ones_stretched(frequencies: Tensor, scaling: Scaling) -> Tensor:
    """llama3: short wavelengths stay, long ones are stretched, those between in part."""
    original, low, high = scaling.original_max_positions, scaling.low_freq_factor, scaling.high_freq_factor
    assert original is not None
    assert low is not None
    assert high is not None
    lengths = 2 * math.pi / frequencies
    stretched = torch.where(lengths > original / low, frequencies / scaling.factor, frequencies)
    share = (original / lengths - low) / (high - low)
    between = (1 - share) * stretched / scaling.factor + share * stretched
    return torch.where(~(lengths < original / high) & ~(lengths > original / low), between, stretched)


def _stretched_by_turns(wavelengths: Tensor, width: int, theta: float, scaling: Scaling) -> Tensor:
    """yarn: pairs that turn often within the sequences of pretraining stay, slow ones are stretched."""
    original = scaling.original_max_positions
    assert original is not None, "the static check asks for it"

    def pair_that_turns(times: float) -> float:
        return (width * math.log(original / (times * 2 * math.pi))) / (2 * math.log(theta))

    first, last = pair_that_turns(scaling.beta_fast or 32), pair_that_turns(scaling.beta_slow or 1)
    if scaling.truncate is not False:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    if first == last:
        last += 0.001
    ramp = ((torch.arange(width // 2, dtype=torch.float32, device="cpu") - first) / (last - first)).clamp(0, 1)
    kept = 1 - ramp
    return 1.0 / (scaling.factor * wavelengths) * (1 - kept) + 1.0 / wavelengths * kept


def _attention_factor(scaling: Scaling) -> float:
    """yarn: longer sequences make attention flatter; this sharpens it."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor

    def of(scale: float) -> float:
        return 1.0 if scaling.factor <= 1 else 0.1 * scale * math.log(scaling.factor) + 1.0

    both = scaling.mscale and scaling.mscale_all_dim
    return of(scaling.mscale) / of(scaling.mscale_all_dim) if both else of(1)  # type: ignore[arg-type]
