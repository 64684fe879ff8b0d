"""The mixture-of-experts branch on Megatron-Core's dispatchers and expert kernels.

Legend: S sequence (per rank), B batch, H hidden.
"""

from functools import partial

from megatron.core import tensor_parallel
from megatron.core.models.backends import get_backend
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.moe.moe_layer import MoELayer, MoESubmodules
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from components.language.feed_forward_declaration import Experts
from components.language.router import PartRouter


class ExpertBranch(MoELayer):
    """Megatron-Core's expert layer, whose router may read something else than the experts do."""

    def __init__(self, config: TransformerConfig, part: Experts, pg_collection: ProcessGroupCollection) -> None:
        experts = get_backend(config.transformer_impl).grouped_mlp_modules(config.moe_grouped_gemm)
        router = partial(PartRouter, part=part.router, num_experts=part.num_experts)
        super().__init__(config, MoESubmodules(experts=experts, router=router), pg_collection=pg_collection)

    def forward(self, expert_input: Tensor, router_input: Tensor) -> Tensor:  # type: ignore[override]
        """Each token through its chosen experts.

        Args:
            expert_input: [S, B, H] what experts read; router_input: [S, B, H] what the router reads.

        Returns:
            [S, B, H], weighted sum over the chosen experts.

        Raises:
            ValueError: training with tensor parallelism but without sequence parallelism, which Megatron-Core's
                dispatchers do not support.
        """
        if self.training and self.attn_tp_group.size() > 1 and not self.config.sequence_parallel:
            raise ValueError("experts with tensor parallelism need sequence parallelism: set sequence_parallel=True")
        if self.moe_layer_recompute and self.training:
            return tensor_parallel.checkpoint(self._run, False, expert_input, router_input)
        return self._run(expert_input, router_input)

    def _run(self, expert_input: Tensor, router_input: Tensor) -> Tensor:
        weights, chosen = self.route(router_input)
        sent, weights = self.preprocess(expert_input, weights, chosen)
        received, weights = self.dispatch(sent, weights)
        output, _ = self.routed_experts_compute(received, weights)
        return self.postprocess(self.combine(output), None)
