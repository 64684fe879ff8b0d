"""Rotary position embedding of one layer kind, as a spec says it (torch-free)."""

import math
from collections.abc import Iterator
from typing import Literal

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import positive, whole

AXES = ("time", "height", "width")


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


@frozen
class Scaling:
    """How wavelengths are stretched for sequences longer than those of pretraining; the names are transformers'."""

    factor: float = field(metadata=_doc("How many times longer the wavelengths get."))
    original_max_positions: int | None = field(
        default=None, metadata=_doc("With llama3 and yarn: the longest sequence of pretraining.")
    )
    low_freq_factor: float | None = field(
        default=None,
        metadata=_doc("With llama3: wavelengths above original_max_positions / this are stretched in full."),
    )
    high_freq_factor: float | None = field(
        default=None, metadata=_doc("With llama3: wavelengths below original_max_positions / this stay.")
    )
    beta_fast: float | None = field(
        default=None, metadata=_doc("With yarn: pairs that turn more often than this in pretraining stay; null: 32.")
    )
    beta_slow: float | None = field(
        default=None,
        metadata=_doc("With yarn: pairs that turn less often than this are stretched in full; null: 1."),
    )
    mscale: float | None = field(
        default=None, metadata=_doc("With yarn, beside mscale_all_dim: the numerator of attention_factor.")
    )
    mscale_all_dim: float | None = field(
        default=None, metadata=_doc("With yarn, beside mscale: the denominator of attention_factor.")
    )
    attention_factor: float | None = field(
        default=None, metadata=_doc("With yarn: factor on cosines and sines; null: from factor and the two mscales.")
    )
    scale_scores: bool | None = field(
        default=None,
        metadata=_doc(
            "With yarn: query·key is multiplied by (0.1 · mscale_all_dim · ln factor + 1)² too; null: it is not."
        ),
    )
    truncate: bool | None = field(
        default=None, metadata=_doc("With yarn: the borders between pairs are whole numbers; null: true.")
    )


_NEEDED = {
    "default": (),
    "proportional": (),
    "linear": (),
    "llama3": ("original_max_positions", "low_freq_factor", "high_freq_factor"),
    "yarn": ("original_max_positions",),
}
_OPTIONAL = {
    "yarn": ("beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "scale_scores", "truncate")
}


@frozen
class Rope:
    """Rotary position embedding of one layer kind."""

    theta: float = field(metadata=_doc("Base of the geometric series of wavelengths."))
    type: Literal["default", "proportional", "linear", "llama3", "yarn"] = field(
        default="default",
        metadata=_doc(
            "default: the wavelengths of the series. proportional: the first `partial` of the pairs rotate, with "
            "exponents taken over the whole head width; the others stand still. linear, llama3, yarn: wavelengths "
            "stretched by `scaling`, all alike, the long ones, or by how often a pair turns."
        ),
    )
    partial: float = field(
        default=1.0,
        metadata=_doc(
            "Share of the head that rotates, 0 < partial ≤ 1: its first columns, which are then a head of their own; "
            "with type proportional, its first pairs."
        ),
    )
    scaling: Scaling | None = field(default=None, metadata=_doc("With the types that stretch wavelengths: how."))
    pairs: Literal["halves", "adjacent"] = field(
        default="halves",
        metadata=_doc(
            "Which columns turn together: halves, column i of the first half and i of the second; adjacent, 2i and "
            "2i + 1."
        ),
    )
    sections: tuple[int, ...] | None = field(
        default=None,
        metadata=_doc(
            "How many pairs take their angle from time, height and width (three numbers, in the order that "
            "section_order says); null: every token has one position."
        ),
    )
    section_order: Literal["contiguous", "interleaved", "height_width_time"] = field(
        default="contiguous",
        metadata=_doc(
            "contiguous: pairs of time, then of height, then of width. interleaved: time, height, width in turn, as "
            "long as height and width have pairs; the rest is time's. height_width_time: height and width in turn, "
            "then time; sections are listed in this order."
        ),
    )

    @property
    def score_factor(self) -> float:
        """What query·key is multiplied by beside the attention's own scale.

        Source: transformers 5.23 models/deepseek_v3, `yarn_apply_mscale`.
        """
        scaling = self.scaling
        if scaling is None or not scaling.scale_scores or scaling.factor <= 1:
            return 1.0
        return float((0.1 * (scaling.mscale_all_dim or 0.0) * math.log(scaling.factor) + 1.0) ** 2)

    def width(self, head_dim: int) -> int:
        """How many columns of a head rotate, or stand still among those that do."""
        return head_dim if self.type == "proportional" else int(head_dim * self.partial)


def section_axes(sections: tuple[int, ...], order: str) -> tuple[int, ...]:
    """The axis of each pair: 0 time, 1 height, 2 width.

    Source: transformers 5.23, `recomposition_frequencies` of models/qwen2_5_vl, models/qwen3_vl and
    models/ernie4_5_vl_moe.
    """
    if order == "height_width_time":
        height, width, time = sections
        return (1, 2) * min(height, width) + (0,) * time
    if order == "contiguous":
        return tuple(axis for axis, count in enumerate(sections) for _ in range(count))
    axes = [0] * sum(sections)
    for axis in (1, 2):
        for pair in range(axis, min(3 * sections[axis], len(axes)), 3):
            axes[pair] = axis
    return tuple(axes)


def check_rope(rope: Rope, path: str, head_dim: int, width_of: str) -> Iterator[Finding]:
    """Values that there are, for a head of `head_dim` columns; `width_of` is the place that says so."""
    yield from positive(f"{path}.theta", rope.theta)
    if not 0 < rope.partial <= 1:
        yield Finding(f"{path}.partial", f"{rope.partial} is no share: 0 < partial <= 1 is expected.")
        return
    if head_dim < 2 or head_dim % 2:
        return  # said already, where the width is
    width = rope.width(head_dim)
    if width < 2 or width % 2:
        message = f"{rope.partial} of {head_dim} columns ({{0}}) is {width}: an even number is expected."
        yield Finding(f"{path}.partial", message, (width_of,))
        return
    yield from _scaling(rope, path)
    if rope.sections is None:
        if rope.section_order != "contiguous":
            yield Finding(f"{path}.section_order", "has no effect without sections.")
    else:
        yield from _sections(rope, rope.sections, path, width, width_of)


def _scaling(rope: Rope, path: str) -> Iterator[Finding]:
    scaling = rope.scaling
    if scaling is None:
        if rope.type in ("linear", "llama3", "yarn"):
            yield Finding(f"{path}.type", f"{rope.type} stretches wavelengths by scaling, which is not given.")
        return
    if rope.type == "default":
        message = "has no effect with type default. Set type: linear, llama3, yarn or proportional."
        yield Finding(f"{path}.scaling", message)
        return
    needed, optional = _NEEDED[rope.type], _OPTIONAL.get(rope.type, ())
    for name in ("original_max_positions", "low_freq_factor", "high_freq_factor", *_OPTIONAL["yarn"]):
        value = getattr(scaling, name)
        if name in needed and value is None:
            yield Finding(f"{path}.scaling", f"{name} is missing: type {rope.type} needs it.")
        elif value is not None and name not in (*needed, *optional):
            yield Finding(f"{path}.scaling.{name}", f"has no effect with type {rope.type}.")
    if rope.type == "yarn":
        yield from _mscales(scaling, f"{path}.scaling")
    for name in ("factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor"):
        yield from positive(f"{path}.scaling.{name}", getattr(scaling, name))
    if scaling.original_max_positions is not None:
        yield from whole(f"{path}.scaling.original_max_positions", scaling.original_max_positions)


def _mscales(scaling: Scaling, path: str) -> Iterator[Finding]:
    """Numbers of yarn that nothing reads."""
    if scaling.scale_scores and not scaling.mscale_all_dim:
        yield Finding(f"{path}.scale_scores", "has no effect without mscale_all_dim: the factor would be 1.")
    if scaling.mscale is not None and not scaling.mscale_all_dim:
        yield Finding(f"{path}.mscale", "has no effect without mscale_all_dim.")
    elif scaling.mscale is not None and scaling.attention_factor is not None:
        yield Finding(f"{path}.mscale", "has no effect beside attention_factor ({0}).", (f"{path}.attention_factor",))
    elif scaling.mscale is None and scaling.mscale_all_dim is not None and not scaling.scale_scores:
        yield Finding(f"{path}.mscale_all_dim", "has no effect without mscale or scale_scores.")


def _sections(rope: Rope, sections: tuple[int, ...], path: str, width: int, width_of: str) -> Iterator[Finding]:
    if len(sections) != len(AXES):
        yield Finding(f"{path}.sections", f"{len(sections)} sections: one each for {', '.join(AXES)} is expected.")
        return
    for number, section in enumerate(sections):
        yield from whole(f"{path}.sections[{number}]", section, 0)
    if sum(sections) != width // 2:
        said = f"{' + '.join(map(str, sections))} is {sum(sections)}"
        message = f"{said}, but {width // 2} pairs of a head rotate ({{0}})."
        yield Finding(f"{path}.sections", message, (width_of,))
        return
    axes = section_axes(sections, rope.section_order)
    listed = (1, 2, 0) if rope.section_order == "height_width_time" else (0, 1, 2)
    if any(axes.count(axis) != count for axis, count in zip(listed, sections, strict=True)):
        message = f"{list(sections)} cannot take turns ({rope.section_order}): one axis has too many pairs for it."
        yield Finding(f"{path}.sections", message)
