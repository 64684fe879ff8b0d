"""Which key of the spec to look at when a pair is red: edges first, in the order of computation, then layers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from adapters.parity.consumed import given_to_oracle, given_to_ours
from adapters.parity.oracle import oracle_logits
from adapters.parity.sides import Side, oracle_side, our_side
from adapters.parity.suspect_edges import (
    wrong_counts,
    wrong_embeddings,
    wrong_encoders,
    wrong_masks,
    wrong_positions,
    wrong_token,
)
from adapters.parity.suspect_parts import wrong_head, wrong_part_of_layer
from adapters.parity.suspects import Suspect, as_lines
from adapters.parity.trace import Parting

if TYPE_CHECKING:
    from adapters.parity.pair import Pair


def diagnose(pair: "Pair", run: Any, parting: Parting | None) -> tuple[str, ...]:
    """Lines `place: path: what was seen`; the first wrong stage only, for what follows it is wrong for its sake.

    Args:
        pair: whose logits differ, or that cannot be run.
        run: runs the composed model.
        parting: where modules part; None if all of them agree.
    """
    graph = pair.graph
    ours = our_side(graph, pair.ours, run)
    oracle = oracle_side(graph, pair.oracle, lambda: oracle_logits(pair.oracle, pair.batch))
    for stage in _stages(pair, run, parting, ours, oracle):
        if found := tuple(stage):
            return as_lines(graph, found)
    return ()


def _stages(pair: "Pair", run: Any, parting: Parting | None, ours: Side, oracle: Side) -> Iterator[Iterator[Suspect]]:
    graph, batch = pair.graph, pair.batch
    yield wrong_token(graph, pair.oracle)
    yield wrong_encoders(graph, ours, oracle, pair.oracle)
    if ours.error is not None or oracle.error is not None:
        yield wrong_counts(graph, ours)
        return
    consumed = given_to_ours(graph, pair.ours, run)
    theirs = given_to_oracle(graph, pair.oracle, lambda: oracle_logits(pair.oracle, batch))
    yield wrong_embeddings(graph, batch, consumed, theirs)
    yield wrong_masks(graph, batch, consumed, theirs)
    yield wrong_positions(graph, batch, oracle)
    if parting is not None:
        yield wrong_part_of_layer(graph, parting, ours, oracle, batch.attention_mask)
    else:
        with torch.no_grad():
            logits = run()[batch.attention_mask], oracle_logits(pair.oracle, batch)[batch.attention_mask]
        yield wrong_head(graph, *logits, pair.oracle)
