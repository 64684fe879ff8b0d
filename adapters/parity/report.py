"""What parity found: numbers, their bounds, and the first part that is wrong."""

from collections.abc import Iterator, Mapping
from math import isnan
from typing import TYPE_CHECKING

import torch
from attrs import field, frozen
from torch import Tensor

from adapters.parity.states import keeps_states
from adapters.screen import screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from composer import Graph

EMBEDDINGS_BOUND = 1e-6
LOGITS_BOUND = 1e-5
LOSS_BOUND = 1e-6
GRADIENT_BOUND = 1e-4
VANISHING = 1e-6
LOGITS_BOUND_OF_STATES = 1e-3
"""Where layers keep a state (a gated delta net): keys of narrow heads are scaled to length one after a convolution that
may leave little of them, and a state passes what rounding did to one token on to all later ones.
"""


def relative_error(ours: Tensor, oracle: Tensor) -> float:
    """Norm of the difference over the oracle's norm, in float64.

    Infinite where only the oracle is zero, where shapes differ, and where anything is not a number.
    """
    if ours.shape != oracle.shape:
        return float("inf")
    difference = float((ours.double() - oracle.double()).norm())
    if difference == 0:
        return 0.0
    error = difference / float(oracle.double().norm()) if oracle.any() else float("inf")
    return float("inf") if isnan(error) else error


def measured_by(name: str, sizes: Mapping[str, float]) -> str:
    """Whose gradient's norm an error is relative to: the parameter's own but where a bias has none.

    Softmax does not change if all keys are moved alike, so a key bias without rotation has no gradient: what float32
    computes in its place is rounding, of which no digit can agree. A bias is taken for such where its gradient is
    below `VANISHING` of its weight's.

    Args:
        name: of a parameter.
        sizes: norms of the right gradients, by name.
    """
    weight = name.removesuffix(".bias") + ".weight"
    vanishes = name.endswith(".bias") and sizes[name] < VANISHING * sizes.get(weight, 0.0)
    return weight if vanishes else name


def logits_bound(graph: "Graph") -> float:
    """By what the decoder's layers are, whatever the model is called."""
    return LOGITS_BOUND_OF_STATES if keeps_states(graph) else LOGITS_BOUND


@frozen
class Measure:
    """One compared value: its error relative to the oracle, and the largest error that passes."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound

    def __str__(self) -> str:
        return f"{self.name}: {self.error:.1e} ({'≤' if self.passed else '>'} {self.bound:.0e})"


@frozen
class VariantReport:
    """One tiny model against its oracle."""

    name: str
    parameters: int = 0
    embeddings: Measure | None = None
    masks: dict[str, int] = field(factory=dict)
    """Cells that differ in each layer kind's mask, real queries by all keys."""
    logits: Measure | None = None
    loss: Measure | None = None
    gradients: tuple[Measure, ...] = ()
    round_trip: tuple[str, ...] = ()
    """What differs after export and reload; empty: every tensor and the reloaded logits are the same bits."""
    wrong_part: str | None = None
    """The first part, in the order of computation, that differs from the oracle; None if all agree."""
    look_at: tuple[str, ...] = ()
    """Keys of the spec that may be wrong, each with its place and what was seen there."""
    problem: str | None = None
    """Why the weights could not even be loaded, or the models not be run."""
    skipped: str | None = None
    """Why transformers has no such model."""

    @property
    def worst_gradient(self) -> Measure | None:
        return max(self.gradients, key=lambda measure: measure.error, default=None)

    @property
    def wrong_gradients(self) -> tuple[Measure, ...]:
        return tuple(measure for measure in self.gradients if not measure.passed)

    @property
    def green(self) -> bool:
        if self.skipped:
            return True
        compared = self.logits is not None and self.loss is not None and self.gradients != ()
        if self.problem or self.round_trip or not (compared and self.embeddings and self.masks):
            return False
        measures = (self.embeddings, self.logits, self.loss, *self.gradients)
        return not any(self.masks.values()) and all(measure.passed for measure in measures if measure)

    def failures(self) -> Iterator[str]:
        """Everything wrong, a line each, the first wrong part first."""
        if self.problem:
            yield self.problem
        if self.wrong_part:
            yield f"first wrong part: {self.wrong_part}"
        yield from (f"look at {place}" for place in self.look_at)
        yield from (f"mask of {kind} layers: {cells} cells differ" for kind, cells in self.masks.items() if cells)
        # Where values already differ, gradients say little more.
        shown = 2 if self.wrong_part else 10
        for measure in (self.embeddings, self.logits, self.loss, *self.wrong_gradients[:shown]):
            if measure is not None and not measure.passed:
                yield str(measure)
        if len(self.wrong_gradients) > shown:
            yield f"and {len(self.wrong_gradients) - shown} more gradients"
        yield from self.round_trip


@frozen
class ParityReport:
    """All variants of a spec."""

    spec: str
    architecture: str
    variants: tuple[VariantReport, ...]
    versions: dict[str, str]
    lines: int = 0
    """Of the spec's file."""
    logits_bound: float = LOGITS_BOUND

    @property
    def green(self) -> bool:
        return all(variant.green for variant in self.variants) and not self.variants[0].skipped

    @property
    def exit_code(self) -> int:
        return 0 if self.green else 1

    def table(self) -> "Table":
        """One line per variant."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(
            box=SIMPLE_HEAD, pad_edge=False, title=f"{self.spec} against {self.architecture}", title_justify="left"
        )
        for heading in ("variant", "embeddings", "masks", "logits", "loss", "gradients", "worst", "round trip"):
            table.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=heading != "variant")
        for variant in self.variants:
            table.add_row(*_row(variant), style=None if variant.green else "red")
        return table

    def print(self, console: "Console | None" = None) -> None:
        """The table, then what is wrong."""
        console = console or screen()
        console.print(self.table())
        for variant in self.variants:
            for line in variant.failures():
                console.print(f"{variant.name}: {line}", style="red", markup=False, highlight=False)
        bounds = f"embeddings ≤ {EMBEDDINGS_BOUND:.0e}, logits ≤ {self.logits_bound:.0e}, loss ≤ {LOSS_BOUND:.0e}, "
        bounds += f"every gradient ≤ {GRADIENT_BOUND:.0e}"
        verdict = "parity" if self.green else "NO PARITY"
        console.print(f"{verdict} (relative errors, float32 on the CPU: {bounds})", markup=False, highlight=False)


def _row(variant: VariantReport) -> tuple[str, ...]:
    if variant.skipped or variant.problem:
        state = f"skipped: {variant.skipped}" if variant.skipped else "not run"
        return (variant.name, state, *[""] * 6)
    worst = variant.worst_gradient
    passed = len(variant.gradients) - len(variant.wrong_gradients)
    return (
        variant.name,
        f"{variant.embeddings.error:.1e}" if variant.embeddings else "",
        "different" if any(variant.masks.values()) else "equal",
        f"{variant.logits.error:.1e}" if variant.logits else "",
        f"{variant.loss.error:.1e}" if variant.loss else "",
        f"{passed}/{len(variant.gradients)}",
        f"{worst.error:.1e}" if worst else "",
        "different" if variant.round_trip else "same bits",
    )


def mask_differences(ours: dict[str, Tensor], oracle: dict[str, Tensor], valid: Tensor) -> dict[str, int]:
    """Cells of each layer kind's mask, [B, S, S] bool, that differ; what padding may attend to does not count.

    Args:
        ours, oracle: True where a query may attend to a key, by layer kind.
        valid: [B, S] bool, True at real tokens.
    """
    return {kind: int((ours[kind] ^ oracle[kind])[valid].sum()) for kind in oracle}


def gradient_errors(ours: dict[str, Tensor], oracle: dict[str, Tensor]) -> tuple[Measure, ...]:
    """Every gradient, by the oracle's names, last computed part first (the order in which they arise).

    A row of the first dimension that is zero in the oracle (an unused word, an unused expert) must be exactly zero. A
    bias whose gradient vanishes is measured by that of its weight, see `measured_by`.
    """
    measures = []
    sizes = {name: float(gradient.double().norm()) for name, gradient in oracle.items()}
    for name in reversed(oracle):
        expected = oracle[name]
        given = ours.get(name)
        by = measured_by(name, sizes)
        error = float("inf") if given is None else relative_error(given, expected)
        if given is not None and by != name and given.shape == expected.shape:
            error = float((given.double() - expected.double()).norm()) / sizes[by]
        if given is not None and given.shape == expected.shape and given.ndim > 1:
            unused = ~expected.flatten(1).any(1)
            if torch.any(given[unused]):
                error = float("inf")
        measures.append(Measure(name, error, GRADIENT_BOUND))
    measures += [Measure(f"{name} (not in the oracle)", float("inf"), GRADIENT_BOUND) for name in ours.keys() - oracle]
    return tuple(measures)
