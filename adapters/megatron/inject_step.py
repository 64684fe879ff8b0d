"""Levels of features for the decoder, as a step.

Legend: K levels, N feature rows, H hidden.
"""

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.megatron.call import Call, rows_of
from components.fusion.feature_counts import FeatureCountError
from components.fusion.inject import levels_at
from components.fusion.scatter import placeholder_slots


@frozen(eq=False)
class Injected:
    """One block of rows that is added between decoder layers."""

    source: str
    """Owner of the levels."""
    placed: str
    """Node whose features fill the same placeholders."""
    tokens: tuple[int, ...]
    names: tuple[str, ...]
    node: str
    """That makes the levels."""
    of: str | None = None
    """The input whose items they are; None: all of the node's."""
    placed_of: str | None = None
    """The same of the features."""


@frozen(eq=False)
class InjectStep:
    """Levels of features for the decoder: the rows of this rank's tokens, all blocks one after the other."""

    blocks: tuple[Injected, ...]

    def __call__(self, model: nn.Module, call: Call) -> None:
        del model
        found = [(block, rows_of(call, block.node, block.source, block.of)) for block in self.blocks]
        given = [(block, call.values[block.source][:, rows.rows]) for block, rows in found if rows is not None]
        if not given:
            return
        parts = []
        for block, levels in given:
            placed = rows_of(call, block.placed, block.placed, block.placed_of)
            rows = "none" if placed is None else int(placed.item_rows.sum())
            if rows != levels.shape[1]:
                raise FeatureCountError(
                    f"{block.source} has {levels.shape[1]} rows at placeholders that {block.placed} has {rows} for"
                )
            parts.append(self._own(block, levels, call))
        call.levels = torch.cat(parts, dim=1)

    def _own(self, block: Injected, levels: Tensor, call: Call) -> Tensor:
        share = call.tokens_of_rank
        if share.chunks == 1:
            return levels
        assert call.input_ids is not None
        slots = placeholder_slots(call.input_ids, torch.tensor(block.tokens, device=call.device))
        order = torch.arange(call.shape[1], device=call.device) if call.rank_order is None else call.rank_order
        return levels_at(share.complete_gradient(levels), slots, share.own(order))
