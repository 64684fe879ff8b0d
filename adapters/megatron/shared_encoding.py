"""Towers on ranks that see the same batch: each encodes its share of the items, and all get the features of all.

Tensor- and context-parallel ranks are given the same images. Legend: I items, N feature rows of all items, C their
width, T tensor-parallel ranks.
"""

from typing import Any

import torch
from attrs import frozen
from torch import Tensor, distributed, nn
from torch.distributed import ProcessGroup

from components.build_error import BuildError


@frozen(eq=False)
class EncodingRanks:
    """The ranks that share the items of a batch."""

    everyone: ProcessGroup
    """Tensor- and context-parallel ranks of one pipeline stage and data share."""
    tensor: ProcessGroup
    context: ProcessGroup

    def own_items(self, items: int) -> slice:
        """This rank's stretch of `items` items: as many as any other rank's, or one fewer."""
        size, rank = self.everyone.size(), self.everyone.rank()
        return slice(items * rank // size, items * (rank + 1) // size)

    def rows_of_ranks(self, item_rows: list[int]) -> list[int]:
        """Feature rows that each rank makes, from those of each item."""
        size, items = self.everyone.size(), len(item_rows)
        return [sum(item_rows[items * rank // size : items * (rank + 1) // size]) for rank in range(size)]

    def most_rows(self, rows: int, device: torch.device) -> int:
        """The largest of all ranks' numbers."""
        most = torch.tensor(rows, device=device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX, self.everyone)
        return int(most)

    def mark(self, tower: nn.Module) -> None:
        """Tell Megatron-Core that gradients of a tower are averaged over tensor-parallel ranks when finalised.

        Each rank has the gradient of its own items, made T times too large in `gather`: the mean is the sum. Over
        context-parallel ranks they are summed with those of data-parallel ranks.
        """
        if self.tensor.size() > 1:
            for parameter in tower.parameters():
                parameter.average_gradients_across_tp_domain = True  # type: ignore[attr-defined]

    def gather(self, features: Tensor, rows: list[int]) -> Tensor:
        """Features of all ranks.

        Args:
            features: [rows of this rank, C].
            rows: of every rank.

        Returns:
            [N, C], in the order of ranks.

        Raises:
            BuildError: this rank has another number of rows than it should: the spec's `item_rows` does not fit.
        """
        expected = rows[self.everyone.rank()]
        if features.shape[0] != expected:
            raise BuildError(f"the tower made {features.shape[0]} rows, by item_rows {expected}: they do not fit")
        gathered: Tensor = _Gather.apply(features, rows, self)
        return gathered


class _Gather(torch.autograd.Function):
    """Backward: tensor-parallel ranks all hold the whole gradient, context-parallel ones that of their tokens."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rows: list[int], ranks: EncodingRanks) -> Tensor:
        ctx.rows, ctx.ranks = rows, ranks
        most = max(rows)
        padded = features.new_zeros(most, features.shape[1])
        padded[: features.shape[0]] = features
        parts = [torch.empty_like(padded) for _ in rows]
        distributed.all_gather(parts, padded, ranks.everyone)
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        ranks: EncodingRanks = ctx.ranks
        gradient = gradients[0].contiguous()
        if ranks.context.size() > 1:
            gradient = gradient.clone()
            distributed.all_reduce(gradient, group=ranks.context)
        first = sum(ctx.rows[: ranks.everyone.rank()])
        own = gradient[first : first + ctx.rows[ranks.everyone.rank()]]
        return own * ranks.tensor.size(), None, None
