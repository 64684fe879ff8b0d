"""Chooses experts per token. Legend: S sequence, B batch, H hidden, E experts, T = S·B tokens."""

from typing import Any

import torch
from megatron.core.transformer.moe.router import TopKRouter
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from components.language.gpt_declaration import Router
from components.language.norms import ScaleFreeRMSNorm


class PartRouter(TopKRouter):
    """Megatron-Core's top-k router with what a spec adds before and after it.

    Softmax, top-k, renormalising, load-balancing losses and token dropping are Megatron-Core's. Its softmax over the
    chosen logits equals softmax over all, then top-k, then renormalise (`renormalise: true`).
    """

    def __init__(self, config: TransformerConfig, part: Router, num_experts: int, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.input_norm = ScaleFreeRMSNorm(config.layernorm_epsilon) if part.input_norm == "scale_free" else None
        self.input_scale = self._scale(config.hidden_size) if part.input_scale == "learned" else None
        self.input_factor = config.hidden_size**-0.5 if part.input_factor == "inv_sqrt_hidden" else None
        self.expert_scale = self._scale(num_experts) if part.expert_scale == "learned" else None

    def _scale(self, width: int) -> nn.Parameter:
        scale = nn.Parameter(torch.ones(width, dtype=self.config.params_dtype))
        scale.sequence_parallel = self.config.sequence_parallel  # type: ignore[attr-defined]
        return scale

    def forward(self, routed: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Route.

        Args:
            routed: [S, B, H], params dtype.
            padding_mask: [S, B] bool, True at real tokens, for load-balancing losses only.

        Returns:
            Weights [T, E], zero at experts not chosen, and the choice [T, E] bool.
        """
        if self.input_norm is not None:
            routed = self.input_norm(routed)
        if self.input_scale is not None:
            routed = routed * self.input_scale
        if self.input_factor is not None:
            routed = routed * self.input_factor
        weights, chosen = super().forward(routed, padding_mask)
        return (weights if self.expert_scale is None else weights * self.expert_scale), chosen
