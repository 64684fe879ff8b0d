"""What a tower or projector costs, found by running it on the meta device at several sizes of items.

Two runs decide the bytes kept: in bfloat16 and in float32. What doubles scales with the size of an element, the rest
does not; both precisions are then met exactly. Bytes that other operations move are those of the bfloat16 run, halved,
so that a cast to float32 counts as two elements.
"""

from collections.abc import Iterable
from fractions import Fraction

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from adapters.megatron.implementation import implementation
from adapters.plans.encoder_inputs import ItemSize, encoder_inputs
from adapters.plans.known_values import KnownValues, Lists
from adapters.plans.operation_costs import Counting, FusedAttention, OperationCosts
from composer.graph import OUT, Graph
from composer.plans.inventory import EncoderCosts, Polynomial

ITEMS = 2
"""Items of a run; one alone would hide copies that a dimension of one makes needless."""
SIDES = (8, 12, 16, 20)
"""Sides of the items of a run, in pooled patches: three to fit, the last to check with."""
TOLERANCE = 1e-3
"""How far the polynomial may be off at the last size."""


class UnfitCostsError(ValueError):
    """A cost does not grow as a polynomial of the second degree; says which."""


@frozen
class Run:
    """One run: rows of one item, and what an item costs."""

    rows: float
    costs: OperationCosts


def trace(graph: Graph, node: str, module: nn.Module, size: ItemSize, items: int, *, trains: bool) -> Run:
    """Run one node on the meta device.

    Args:
        module: of that node, on the meta device; its element type decides the sizes of activations.
        trains: whether its parameters do. What a projector reads carries gradient; so does what a tower reads if the
            tower does not train, as if something upstream did.

    Raises:
        EncoderInputsError, UnknownValueError: it cannot be run without real pixels.
    """
    known, costs = KnownValues(), OperationCosts()
    module.requires_grad_(trains)
    inputs = encoder_inputs(graph, node, module, known, size, items)
    tower = graph.component(node).role == "tower"
    for value in inputs.values():
        if value.is_floating_point():
            value.requires_grad_(not (tower and trains))
    costs.ignore([*module.parameters(), *module.buffers(), *(inputs.values() if tower else ())])
    counting = Counting(costs, known, [*module.parameters()])
    component = implementation(graph.component(node))
    with Lists(known), FusedAttention(), saved_tensors_hooks(costs.keep, _refuse), counting:
        output = component.run(module, graph.nodes[node].config, **inputs)
    features = output if isinstance(output, Tensor) else output[OUT]
    return Run(features.shape[0] / items, costs)


def encoder_costs(graph: Graph, node: str, module: nn.Module, sides: tuple[int, ...] = SIDES) -> EncoderCosts:
    """Costs of one item as polynomials in its feature rows.

    Args:
        module: of that node, on the meta device; its element type and what trains are changed.
        sides: of square items, in pooled patches; the last one checks what the others say.

    Raises:
        EncoderInputsError, UnknownValueError: it cannot be run without real pixels.
        UnfitCostsError: costs of another form.
    """
    runs = {
        (element, trains): [
            trace(graph, node, module.to(dtype), ItemSize(side), ITEMS, trains=trains) for side in sides
        ]
        for element, dtype in ((2, torch.bfloat16), (4, torch.float32))
        for trains in (True, False)
    }
    half = runs[2, True]
    rows = [run.rows for run in half]

    def fitted(what: str, totals: Iterable[float]) -> Polynomial:
        return fit(f"{what} of {node}", rows, [total / ITEMS for total in totals])

    def kept(what: str, *, trains: bool) -> tuple[Polynomial, Polynomial]:
        pairs = [(a.costs.kept, b.costs.kept) for a, b in zip(runs[2, trains], runs[4, trains], strict=True)]
        scaling = fitted(what, [(wide - narrow) / 2 for narrow, wide in pairs])
        return scaling, fitted(what, [2 * narrow - wide for narrow, wide in pairs])

    saved, saved_wide = kept("bytes kept", trains=True)
    saved_frozen, saved_frozen_wide = kept("bytes kept, frozen,", trains=False)
    return EncoderCosts(
        node=node,
        gemm=fitted("matrix products", [run.costs.gemm for run in half]),
        attention=fitted("attention", [run.costs.attention for run in half]),
        elementwise=fitted("bytes moved", [run.costs.elementwise / 2 for run in half]),
        saved=saved,
        saved_wide=saved_wide,
        saved_frozen=saved_frozen,
        saved_frozen_wide=saved_frozen_wide,
        launches=half[-1].costs.launches,
        traced=True,
    )


def fit(what: str, rows: list[float], values: list[float]) -> Polynomial:
    """The polynomial through all but the last point, which it must meet too.

    Where all items make as many rows, it is a constant.

    Raises:
        UnfitCostsError: it does not.
    """
    coefficients = [values[0], 0.0, 0.0] if len(set(rows)) == 1 else _through(rows[:-1], values[:-1])
    polynomial = Polynomial(*coefficients)
    off = abs(polynomial(rows[-1]) - values[-1])
    if off > TOLERANCE * abs(values[-1]):
        raise UnfitCostsError(f"{what} is no polynomial of its rows: {off / abs(values[-1]):.1%} off at {rows[-1]:g}")
    return polynomial


def _through(places: list[float], values: list[float]) -> list[float]:
    """Coefficients, constant first, by divided differences in fractions: counts that are whole numbers stay whole."""
    xs, differences = [Fraction(each) for each in places], [Fraction(each) for each in values]
    for order in range(1, len(xs)):
        for place in range(len(xs) - 1, order - 1, -1):
            rise = differences[place] - differences[place - 1]
            differences[place] = rise / (xs[place] - xs[place - order])
    found = [Fraction(0)] * len(xs)
    for x, difference in zip(reversed(xs), reversed(differences), strict=True):
        # What was found times (r - x), and the difference.
        found = [lower - x * own for lower, own in zip([Fraction(0), *found], found, strict=False)]
        found[0] += difference
    return [float(each) for each in found]


def _refuse(_: Tensor) -> Tensor:
    raise RuntimeError("costs of the forward pass are counted; there is no backward pass")


def estimated(graph: Graph, node: str, module: nn.Module) -> EncoderCosts:
    """A guess from parameters, for what cannot be run: each is used once for every patch that a row is pooled from.

    A block of transformers keeps about 17 elements for every element of its stream (arXiv 2205.05198, section 4.1) and
    moves each about twice; its stream is about as wide as the square root of a twelfth of its parameters.
    """
    section = graph.nodes[node].config
    item_rows = getattr(section, "item_rows", None)
    patches = (item_rows.pool * item_rows.merge) ** 2 if item_rows is not None else 1
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    elements = sum(parameter.numel() for parameter in matrices)
    width = section.out_dim
    blocks = max(elements / (12 * width * width), 1.0)
    kept = Polynomial(linear=17.0 * width * blocks * patches)
    nothing = Polynomial()
    return EncoderCosts(
        node=node,
        gemm=Polynomial(linear=2.0 * elements * patches),
        attention=Polynomial(quadratic=4.0 * width * blocks * patches**2),
        elementwise=Polynomial(linear=2 * kept.linear),
        saved=kept,
        saved_wide=nothing,
        saved_frozen=kept,
        saved_frozen_wide=nothing,
        launches=round(25 * blocks),
        traced=False,
    )
