"""Which tokens a rank has between decoder layers: context parallelism deals them out, then sequence parallelism.

Legend: S sequence, K levels, N feature rows, H hidden.
"""

from attrs import frozen
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.mappings import copy_to_tensor_model_parallel_region
from torch import Tensor
from torch.distributed import ProcessGroup


@frozen(eq=False)
class RankTokens:
    """One chunk of as many as there are ranks that share a sequence."""

    chunk: int = 0
    chunks: int = 1
    tensor: ProcessGroup | None = None
    """The ranks that share it by sequence parallelism; None: they all have the same tokens."""

    @classmethod
    def of(cls, groups: ProcessGroupCollection, *, sequence_parallel: bool) -> "RankTokens":
        """This rank's."""
        tensor = groups.tp if sequence_parallel and groups.tp.size() > 1 else None
        ranks, rank = (1, 0) if tensor is None else (tensor.size(), tensor.rank())
        return cls(groups.cp.rank() * ranks + rank, groups.cp.size() * ranks, tensor)

    def own(self, values: Tensor) -> Tensor:
        """This rank's part [..., S / chunks] of what is [..., S] in rank order."""
        return values.chunk(self.chunks, dim=-1)[self.chunk]

    def complete_gradient(self, levels: Tensor) -> Tensor:
        """[K, N, H], the same values; every tensor-parallel rank gets the gradient of the tokens of all."""
        if self.tensor is None:
            return levels
        complete: Tensor = copy_to_tensor_model_parallel_region(levels, group=self.tensor)
        return complete
