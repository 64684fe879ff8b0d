"""Feature rows turned around under a layout, on packed documents, with one decoder layer attending alone.

Legend: L tokens of a row on this rank, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from attrs import frozen
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor, nn

from adapters.megatron.module import ComposedModel
from adapters.prove.layouts.batches import MicroBatch, arguments, documents_of
from adapters.prove.layouts.names import ROWS
from adapters.prove.perturbation import REMEMBERED, changed_weights, turned_rows
from adapters.prove.placed import Placed
from composer import masks
from composer.graph import Graph
from composer.plans.layout import Layout
from composer.plans.placement import place


def chosen(data_ranks: int) -> tuple[range, ...]:
    """The packed rows whose features are turned, by data-parallel rank: the first half of its own, at least one.

    Every document with pictures is in one of the chosen, however many ranks there are, and so is the pair that touches.
    """
    firsts = [ROWS * rank // data_ranks for rank in range(data_ranks + 1)]
    return tuple(range(first, first + max(1, (end - first) // 2)) for first, end in pairwise(firsts))


def layers_alone(placed: Placed, order: Sequence[str], layout: Layout) -> list[int]:
    """Layers that attend alone in turn: of what is scattered, the first of each kind of every pipeline stage.

    Layers of a kind share mask and code; what a stage computes for itself, it computes once. Of a level, see
    `Placed.watching`.
    """
    if placed.level is not None:
        return placed.watching(order)
    return [
        number
        for chunk in place(len(order), layout)
        for number in chunk.layers
        if order[number] not in order[chunk.layers.start : number]
    ]


@frozen
class Turn:
    """One feature row of a micro-batch, and the token it goes to."""

    row: int
    position: int


@frozen
class Change:
    """Relative change of the logits of a rank's tokens when one row is turned around."""

    micro_batch: int
    turn: int
    positions: tuple[int, ...]
    changes: tuple[float, ...]


def turns(ids: Tensor, placeholder: int, level: int | None = None) -> tuple[Turn, ...]:
    """Rows to turn of a row of tokens [1, S]: first, middle and last of every stretch of placeholders.

    Of a level, which is placed as the features are, those of the row as if it were one stretch.
    """
    places = (ids[0] == placeholder).nonzero().flatten().tolist()
    if level is not None:
        rows = [0, len(places) // 2, len(places) - 1] if places else []
        return tuple(Turn(row, places[row]) for row in dict.fromkeys(rows))
    starts = [index for index, place in enumerate(places) if index == 0 or places[index - 1] != place - 1]
    ends = [start - 1 for start in [*starts[1:], len(places)]][: len(starts)]
    rows = [row for first, last in zip(starts, ends, strict=True) for row in (first, (first + last) // 2, last)]
    return tuple(Turn(row, places[row]) for row in dict.fromkeys(rows))


def expected_changes(rule: masks.Rule, graph: Graph, batch: MicroBatch, turn: Turn) -> list[bool]:
    """Which tokens of a packed row must change: by the rule's own meaning, pair by pair, and documents."""
    names = {token: name for name, token in graph.tokens.items()}
    documents = documents_of(batch)
    row = batch["input_ids"][0].tolist()
    sequence = masks.Layout(tuple(names.get(token) for token in row), tuple(documents))
    key = turn.position
    return [
        query == key or (documents[query] == documents[key] and masks.allowed(rule, query, key, sequence))
        for query in range(len(row))
    ]


def changes(
    stages: Sequence[ComposedModel],
    at: tuple[str, ...],
    layer: int,
    batches: Sequence[MicroBatch],
    rows: Sequence[tuple[Turn, ...]],
    runs: int,
    level: int | None = None,
) -> list[Change]:
    """Run all stages of this rank once for each row that is turned, one row of every micro-batch at a time.

    Args:
        stages: this rank's, in order; collective over all ranks.
        at: the tokens of the edge that places the features.
        layer: the decoder layer that attends, counted over all stages.
        batches: this rank's micro-batches, packed rows of one length.
        rows: what to turn in each.
        runs: as many as the longest of all ranks' `rows` has.
        level: whose rows they are; None: those that are scattered.

    Returns:
        What changed, on ranks of the last stage.
    """
    found = []
    with torch.no_grad(), _attending_alone(stages, layer):
        reference = _logits(stages, batches)
        for turn in range(runs):
            chosen = [own[turn % len(own)].row if own else None for own in rows]
            with turned_rows(stages[0], at, chosen, level):
                logits = _logits(stages, batches)
            for number, (before, after) in enumerate(zip(reference, logits, strict=True)):
                if not rows[number]:
                    continue
                change = (after - before).norm(dim=-1) / before.norm(dim=-1)
                index = turn % len(rows[number])
                found.append(Change(number, index, _positions(stages[0], batches[number]), tuple(change[0].tolist())))
    return found


def _positions(model: ComposedModel, batch: MicroBatch) -> tuple[int, ...]:
    return tuple(model.own_positions(batch["input_ids"].shape[1]).tolist())


def _logits(stages: Sequence[ComposedModel], batches: Sequence[MicroBatch]) -> list[Tensor]:
    """[1, L, V] of each micro-batch on ranks of the last stage; elsewhere nothing."""
    found: list[Tensor] = []

    def keep(logits: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        found.append(logits)
        return logits.sum(), torch.ones((), dtype=torch.int, device=logits.device), {}

    def forward_step(iterator: Iterator[MicroBatch], model: nn.Module) -> tuple[Tensor, Any]:
        given = arguments(next(iterator), torch.cuda.current_device())
        asked = {name: value for name, value in given.items() if name not in {"labels", "loss_mask"}}
        return model(**asked, runtime_gather_output=True), keep

    get_forward_backward_func()(
        forward_step_func=forward_step,
        data_iterator=[iter(batches) for _ in stages],
        model=list(stages),
        num_microbatches=len(batches),
        seq_length=batches[0]["input_ids"].shape[1],
        micro_batch_size=1,
        forward_only=True,
    )
    return found


@contextmanager
def _attending_alone(stages: Sequence[ComposedModel], chosen: int) -> Iterator[None]:
    """The mixer of every other layer adds nothing, and the chosen one's state, if it has one, is not forgotten."""
    mixers = {
        layer.layer_number - 1: layer.self_attention for stage in stages for layer in stage.decoder_node.decoder.layers
    }
    changed = [(mixer.linear_proj.weight, 0.0) for layer, mixer in mixers.items() if layer != chosen]
    changed += [(mixers[chosen].decay, REMEMBERED)] if hasattr(mixers.get(chosen), "decay") else []
    with changed_weights(changed):
        yield
