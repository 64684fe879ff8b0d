"""A projection that every tensor-parallel rank holds whole."""

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.nn import functional


class ReplicatedLinear(nn.Module):
    """x · weightᵀ, with no bias and no message between ranks.

    Under sequence parallelism each rank sees a part of the sequence: the weight is marked for Megatron-Core, which sums
    its gradient over tensor-parallel ranks when gradients are finalised. Without, every rank must be given the whole
    gradient of the output; then the input's is whole too.
    """

    def __init__(self, config: TransformerConfig, inner: int, outer: int) -> None:
        super().__init__()
        device = torch.cuda.current_device()
        self.weight = nn.Parameter(torch.empty(outer, inner, dtype=config.params_dtype, device=device))
        if config.perform_initialization and config.init_method is not None:
            # Of the state that all tensor-parallel ranks have in common.
            config.init_method(self.weight)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """[..., inner] to [..., outer], same dtype."""
        return functional.linear(x, self.weight)
