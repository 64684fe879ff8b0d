"""From a share of the positions with all heads to all positions with a share of the heads, and back.

For what must see a sequence as a whole and in order, under context parallelism. Legend: S sequence, C ranks, L = S / C,
B batch, G heads of a rank before the exchange.
"""

import torch
from megatron.core.tensor_parallel.mappings import all_to_all
from torch import Tensor
from torch.distributed import ProcessGroup

from components.fusion.sequence_order import SequenceShare


class HeadExchange:
    """Between context-parallel ranks; with one rank, everything stays as it is."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group
        self.ranks, self.rank = group.size(), group.rank()

    def own(self, per_head: Tensor) -> Tensor:
        """[G, ...] to this rank's [G / C, ...]."""
        return per_head.chunk(self.ranks)[self.rank]

    def positions(self, length: int, device: torch.device) -> Tensor | None:
        """[S] int64: the position of each token in rank order; None: in order."""
        return SequenceShare(self.rank, self.ranks).rank_order(length, device) if self.ranks > 1 else None

    def to_heads(self, x: Tensor) -> Tensor:
        """[L, B, G, ...] of this rank's positions, to [S, B, G / C, ...] in the order of the sequence."""
        if self.ranks == 1:
            return x
        sent = x.unflatten(2, (self.ranks, -1)).movedim(2, 0).contiguous()
        # Gathered shares of ranks stand one behind another.
        arrived = all_to_all(self.group, sent.flatten(0, 1))
        order = self.positions(arrived.shape[0], x.device)
        assert order is not None
        return arrived[order.argsort()]

    def to_positions(self, x: Tensor) -> Tensor:
        """[S, B, G / C, ...] in the order of the sequence, to [L, B, G, ...] of this rank's positions."""
        if self.ranks == 1:
            return x
        order = self.positions(x.shape[0], x.device)
        assert order is not None
        arrived = all_to_all(self.group, x[order].contiguous())
        return arrived.unflatten(0, (self.ranks, -1)).movedim(0, 2).flatten(2, 3)
