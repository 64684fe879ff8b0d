"""Which positions of a sequence each context-parallel rank holds. Legend: S sequence, C ranks, L = S / C.

Two chunks a rank, one from each end: rank r of C holds chunks r and 2C - 1 - r of 2C, so that under a causal rule every
rank has as many pairs of queries and keys as any other. *Rank order* is the order of positions in which ranks' shares
stand one behind another: what gathering them along the sequence gives.
"""

import torch
from attrs import frozen
from torch import Tensor


class SequenceLengthError(ValueError):
    """A sequence that cannot be dealt out evenly; says to what length to pad it."""


@frozen
class SequenceShare:
    """One rank's place among those that share sequences."""

    rank: int = 0
    ranks: int = 1

    def rank_order(self, length: int, device: torch.device) -> Tensor:
        """[S] int64: positions in rank order, S = `length`.

        Raises:
            SequenceLengthError: S is not a multiple of 2C.
        """
        positions = torch.arange(length, device=device)
        if self.ranks == 1:
            return positions
        if length % (2 * self.ranks):
            padded = -(-length // (2 * self.ranks)) * 2 * self.ranks
            raise SequenceLengthError(
                f"sequences of {length} tokens cannot be dealt out to {self.ranks} context-parallel ranks, two chunks "
                f"each: pad them to {padded}"
            )
        chunks = positions.view(2 * self.ranks, -1)
        return torch.cat([chunks[: self.ranks], chunks[self.ranks :].flip(0)], dim=1).flatten()

    def own(self, rank_order: Tensor) -> Tensor:
        """[L] int64: this rank's positions, ascending, from those of all ranks."""
        return rank_order.chunk(self.ranks)[self.rank]
