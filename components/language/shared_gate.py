"""How much of the shared expert each token takes. Legend: S sequence (per rank), B batch, H hidden."""

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn


class SharedGate(nn.Module):
    """sigmoid(w · x), one number per token.

    Marks its weight for Megatron-Core: under sequence parallelism each rank sees a part of the sequence.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, config.hidden_size, dtype=config.params_dtype))
        if config.perform_initialization:
            config.init_method(self.weight)  # type: ignore[misc]
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """[S, B, H] to [S, B, 1], same dtype."""
        return nn.functional.linear(x, self.weight).sigmoid()
