"""Chooses experts per token. Legend: S sequence, B batch, H hidden, E experts, T = S·B tokens."""

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.transformer.moe.router import TopKRouter
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from components.build_error import BuildError
from components.language.expert_choice import choose
from components.language.feed_forward_declaration import Router
from components.language.norms import ScaleFreeRMSNorm


class PartRouter(TopKRouter):
    """Megatron-Core's top-k router with what a spec adds before and after it.

    Softmax, top-k, renormalising, load-balancing losses and token dropping are Megatron-Core's. Its softmax over the
    chosen logits equals softmax over all, then top-k, then renormalise (`renormalise: true`). Other scores, and choices
    among groups or with a bias, are `expert_choice`'s: Megatron-Core refuses a bias with softmax, always renormalises
    sigmoids, and ranks groups by another number of experts.

    Raises:
        BuildError: losses that balance experts, or dropped tokens, with such a choice.
    """

    def __init__(self, config: TransformerConfig, part: Router, num_experts: int, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.input_norm = ScaleFreeRMSNorm(config.layernorm_epsilon) if part.input_norm == "scale_free" else None
        self.input_scale = self._scale(config.hidden_size) if part.input_scale == "learned" else None
        self.input_factor = config.hidden_size**-0.5 if part.input_factor == "inv_sqrt_hidden" else None
        self.expert_scale = self._scale(num_experts) if part.expert_scale == "learned" else None
        self.part = part
        self.correction_bias: Tensor | None
        device = torch.cuda.current_device()
        bias = torch.zeros(num_experts, dtype=torch.float32, device=device) if part.bias != "none" else None
        self.register_buffer("correction_bias", bias)
        balanced = config.moe_router_load_balancing_type != "none" or config.moe_expert_capacity_factor is not None
        if balanced and not part.is_plain:
            raise BuildError(
                "this router's experts are balanced by its weights alone: set moe_router_load_balancing_type to none, "
                "and no moe_expert_capacity_factor"
            )

    def _scale(self, width: int) -> nn.Parameter:
        scale = nn.Parameter(torch.ones(width, dtype=self.config.params_dtype))
        scale.sequence_parallel = self.config.sequence_parallel  # type: ignore[attr-defined]
        return scale

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PartRouter":
        """Half-precision wrappers cast buffers; what is added to float32 scores stays as exact as it is stored."""
        bias = self.correction_bias
        super()._apply(fn, recurse)
        if bias is not None and self.correction_bias is not None and self.correction_bias.dtype != torch.float32:
            self.correction_bias = bias.to(self.correction_bias.device)
        return self

    def gating(self, input: Tensor) -> Tensor:  # noqa: A002 (Megatron-Core's name)
        """[S, B, H] to logits [S, B, E]; a set may have no tokens, whose shape Megatron-Core cannot infer."""
        if input.numel():
            logits: Tensor = super().gating(input)
            return logits
        return nn.functional.linear(input.float(), self.weight.float())

    def routing(self, logits: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [S, B, E] to weights [T, E] and the choice [T, E] bool."""
        if self.part.is_plain:
            weights, chosen = super().routing(logits, padding_mask)
            return weights, chosen
        flat = self.apply_z_loss(logits.flatten(0, 1), padding_mask=padding_mask)
        return choose(flat, self.part, self.topk, self.correction_bias)

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
