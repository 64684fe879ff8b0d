"""What the ranks of a case found, put together and held against one process alone."""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from attrs import frozen

from adapters.parity.report import GRADIENT_BOUND
from adapters.parity.states import keeps_states
from adapters.prove.layouts.batches import encoded_items
from adapters.prove.layouts.gradient_errors import Part, relative_errors, worst
from adapters.prove.layouts.job import Alone, Case, found_file
from adapters.prove.layouts.who_changes import Turn, chosen, expected_changes, layers_alone, turns
from adapters.prove.layouts.worker import PACKED
from adapters.prove.placed import Placed, placed_rows
from adapters.prove.report import UNCHANGED_BOUND
from composer import Graph
from composer.edges import MaskEdge

BOUND = 1e-5
"""Relative, in float32: of the loss, and of every gradient by norm."""


def gradient_bound(graph: Graph) -> float:
    """Where layers keep a state, what parity holds gradients to: another order of sums is passed on by the state."""
    return GRADIENT_BOUND if keeps_states(graph) else BOUND


SHOWN = 4


@frozen
class BatchProof:
    """One global batch: relative difference of the loss (worst rank) and of gradients; images encoded by rank."""

    name: str
    loss: float
    gradient: float
    worst: str
    images: int
    encoded: tuple[int, ...]


@frozen
class LayoutProof:
    """One model under one layout. `rows` feature rows were turned around; `problems` says everything that is wrong."""

    case: Case
    batches: tuple[BatchProof, ...]
    rows: int
    problems: tuple[str, ...]

    @property
    def green(self) -> bool:
        return not self.problems


def layout_proof(case: Case, graph: Graph, alone: Alone, folder: Path) -> LayoutProof:
    """Read what every rank left, and compare."""
    ranks = [json.loads(found_file(folder, case, rank).read_text("utf-8")) for rank in range(case.named.ranks)]
    batches = tuple(_batch(graph, name, alone, ranks) for name in alone.batches)
    problems = [
        problem
        for name, batch in zip(alone.batches, batches, strict=True)
        for problem in _wrong(name, batch, alone, ranks, gradient_bound(graph))
    ]
    problems += _sharing(case, graph, batches, alone)
    problems += _frozen(graph, ranks)
    found, rows = _changes(case, graph, alone, ranks)
    return LayoutProof(case, batches, rows, (*problems, *found))


def _batch(graph: Graph, name: str, alone: Alone, ranks: list[dict[str, Any]]) -> BatchProof:
    right = alone.losses[name]
    found = [rank["batches"][name] for rank in ranks]
    errors = _errors(found)
    last = max(errors, key=lambda each: worst(errors[each]))
    return BatchProof(
        name,
        max((abs(each["loss"] - right) / abs(right) for each in found), key=worst),
        errors[last],
        last,
        sum(encoded_items(graph, each) for each in alone.batches[name]),
        tuple(each["encoded"] for each in found),
    )


def _errors(found: list[dict[str, Any]]) -> dict[str, float]:
    return relative_errors([Part(**part | {"at": tuple(part["at"])}) for each in found for part in each["parts"]])


def _wrong(name: str, batch: BatchProof, alone: Alone, ranks: list[dict[str, Any]], bound: float) -> Iterator[str]:
    if not batch.loss <= BOUND:
        yield f"{name}: the loss differs by {batch.loss:.1e}"
    errors = _errors([rank["batches"][name] for rank in ranks])
    yield from (f"{name}: no rank has the gradient of {lost}" for lost in sorted(alone.gradients[name].keys() - errors))
    wrong = {each: error for each, error in errors.items() if not error <= bound}
    for each in sorted(wrong, key=lambda each: -worst(wrong[each]))[:SHOWN]:
        yield f"{name}: the gradient of {each} differs by {wrong[each]:.1e}"
    if len(wrong) > SHOWN:
        yield f"{name}: and {len(wrong) - SHOWN} more gradients differ"


def _sharing(case: Case, graph: Graph, batches: tuple[BatchProof, ...], alone: Alone) -> Iterator[str]:
    """No image (or tile of one) twice, and no rank of those that see the same batch more than its share."""
    layout = case.named.layout
    for batch in batches:
        counts = [encoded_items(graph, each) for each in alone.batches[batch.name]]
        most = sum(-(-count // (layout.tp * layout.cp)) for count in counts)
        if sum(batch.encoded) != batch.images or max(batch.encoded) > most:
            yield f"{batch.name}: {batch.images} images were encoded as {list(batch.encoded)} by the ranks"


def _frozen(graph: Graph, ranks: list[dict[str, Any]]) -> Iterator[str]:
    """Freezing a role leaves every other gradient as it was, and those of the role away."""
    for role in ranks[0]["frozen"]:
        found = [rank["frozen"][role] for rank in ranks]
        reached = {node for each in found for node in each["reached"]}
        expected = {node for node in graph.nodes if graph.component(node).role != role}
        yield from (f"{role} frozen: gradient reaches {node}" for node in sorted(reached - expected))
        yield from (f"{role} frozen: no gradient reaches {node}" for node in sorted(expected - reached))
        wrong = {name: error for name, error in _errors(found).items() if not error <= gradient_bound(graph)}
        for name in sorted(wrong, key=lambda name: -worst(wrong[name]))[:1]:
            yield f"{role} frozen: the gradient of {name}, and of {len(wrong) - 1} more, differs by {wrong[name]:.1e}"


def _changes(case: Case, graph: Graph, alone: Alone, ranks: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Tokens that changed and must not, or must and did not; and how many rows were turned."""
    (mask,) = (edge for edge in graph.edges if isinstance(edge, MaskEdge))
    whole = alone.batches[PACKED]
    seen = _gathered(whole, ranks)
    problems = []
    order = graph.decoder().config.layers.order
    subjects = list(placed_rows(graph))
    turned = _turned(case, graph, whole, subjects)
    for (subject, layer, number, index), turn in turned.items():
        placed, measured = subjects[subject], seen.get((subject, layer, number, index), {})
        expected = expected_changes(mask.rules[order[layer]], graph, whole[number], turn)
        for position in range(int(whole[number]["cu_seqlens"][-1])):
            must = expected[position] if placed.sees(layer) else position == turn.position
            if said := _wrong_change(measured.get(position, math.nan), must=must):
                level = "" if placed.level is None else f"level {placed.level}, "
                where = f"{level}layer {layer}, {order[layer]}: row {number}, token {position}"
                problems.append(f"{where}, with the feature at token {turn.position}: {said}")
    shown = problems[:SHOWN] + ([f"and {len(problems) - SHOWN} more tokens"] if len(problems) > SHOWN else [])
    return shown, len(turned)


def _turned(
    case: Case, graph: Graph, whole: list[Any], subjects: Sequence[Placed]
) -> dict[tuple[int, int, int, int], Turn]:
    """Every row that must have been turned, by what was turned, layer, micro-batch and row of the global batch."""
    return {
        (subject, layer, number, index): turn
        for subject, placed in enumerate(subjects)
        for layer in layers_alone(placed, graph.decoder().config.layers.order, case.named.layout)
        for number in chain.from_iterable(chosen(case.named.data_ranks))
        for index, turn in enumerate(turns(whole[number]["input_ids"], graph.tokens[placed.edge.at[0]], placed.level))
    }


def _wrong_change(change: float, *, must: bool) -> str | None:
    if math.isnan(change):
        return "on no rank"
    if (change > UNCHANGED_BOUND) == must:
        return None
    return "did not change and must" if must else "changed and must not"


def _gathered(whole: list[Any], ranks: list[dict[str, Any]]) -> dict[tuple[int, int, int, int], dict[int, float]]:
    """By what was turned, layer, micro-batch and row of the global batch: the change at each position; copies agree."""
    data_ranks = max(rank["data_rank"] for rank in ranks) + 1
    seen: dict[tuple[int, int, int, int], dict[int, float]] = {}
    for rank in ranks:
        first = len(whole) * rank["data_rank"] // data_ranks
        for change in rank["changes"]:
            place = (change["placed"], change["layer"], first + change["micro_batch"], change["turn"])
            at = seen.setdefault(place, {})
            for position, value in zip(change["positions"], change["changes"], strict=True):
                # Where a row is turned more than once, or on several ranks, the largest change counts.
                at[position] = max(value, at.get(position, 0.0))
    return seen
