"""The feed-forward half of a layer: a dense branch, experts, or both. Legend: S sequence, B batch, H hidden."""

import copy
from typing import Any

from megatron.core.models.backends import get_backend
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from components.language.expert_sets import ExpertSets, SetPlace, mixed
from components.language.experts import ExpertBranch
from components.language.feed_forward_declaration import FeedForward
from components.language.gpt_declaration import Layer
from components.language.norms import rms_norm
from components.language.shared_gate import SharedGate


class FeedForwardHalf(MegatronModule):
    """Reads the raw residual, brings its own norms, returns what is added to the residual."""

    def __init__(
        self,
        config: TransformerConfig,
        layer: Layer,
        pg_collection: ProcessGroupCollection,
        place: SetPlace | None = None,
        **_: Any,
    ) -> None:
        super().__init__(config=config)
        part, self.place = layer.ffn, place
        self.part = part
        both = part.dense is not None and part.experts is not None and part.branch_norms

        def norm(wanted: bool) -> nn.Module:
            return rms_norm(config, config.hidden_size) if wanted else nn.Identity()

        self.input_norm = norm(True)
        self.output_norm = norm(layer.norms == "sandwich")
        if part.dense is not None:
            self.dense = dense_branch(config, part.dense.intermediate_size, pg_collection)
            self.dense_norm = norm(both)
        if part.experts is not None:
            self.experts = ExpertBranch(config, part.experts, pg_collection)
            if part.experts.sets:
                self.expert_sets = ExpertSets(config, part.experts, pg_collection)
            if (shared := part.experts.shared) is not None:
                self.shared_expert = dense_branch(config, shared.width, pg_collection)
                self.shared_gate = SharedGate(config) if shared.gate == "sigmoid" else None
            self.experts_input_norm = norm(both)
            self.experts_norm = norm(both)

    def set_layer_number(self, layer_number: int) -> None:
        """Megatron-Core's name for telling the load-balancing log which layer this is."""
        if self.part.experts is not None:
            self.experts.set_layer_number(layer_number)
            if self.part.experts.sets:
                self.expert_sets.set_layer_number(layer_number)

    def forward(self, residual: Tensor, padding_mask: Tensor | None = None, **_: Any) -> tuple[Tensor, None]:
        """[S, B, H] residual stream to [S, B, H] and no bias.

        `padding_mask` (the argument's name is Megatron-Core's) are mask metadata [B, F, S of whole sequences], which
        say the experts that each token passes.
        """
        normed = self.input_norm(residual)
        output = None
        if self.part.dense is not None:
            output = self.dense_norm(self.dense(normed)[0])
        if self.part.experts is not None:
            mixture = self.experts_norm(self._mixture(residual, normed, padding_mask))
            output = mixture if output is None else output + mixture
        assert output is not None
        return self.output_norm(output), None

    def _mixture(self, residual: Tensor, normed: Tensor, metadata: Tensor | None) -> Tensor:
        own_norm = not isinstance(self.experts_input_norm, nn.Identity)
        expert_input = self.experts_input_norm(residual) if own_norm else normed
        assert self.part.experts is not None
        routed = residual if self.part.experts.router.input == "residual" else expert_input
        if self.part.experts.sets:
            assert self.place is not None
            assert metadata is not None
            branches: list[Any] = [self.experts, *self.expert_sets.values()]
            mixture = mixed(branches, expert_input, routed, self.place.own(metadata))
        else:
            mixture = self.experts(expert_input, routed)
        if self.part.experts.shared is None:
            return mixture
        shared, _ = self.shared_expert(expert_input)
        return mixture + (shared if self.shared_gate is None else self.shared_gate(expert_input) * shared)


def dense_branch(config: TransformerConfig, intermediate_size: int, groups: ProcessGroupCollection) -> MLP:
    """Megatron-Core's gated MLP of a given width (global, not per tensor-parallel rank)."""
    sized = copy.copy(config)
    sized.ffn_hidden_size = intermediate_size
    backend = get_backend(config.transformer_impl)
    submodules = MLPSubmodules(
        linear_fc1=backend.column_parallel_linear(),
        linear_fc2=backend.row_parallel_linear(),
        activation_func=backend.activation_func(),
    )
    return MLP(sized, submodules, ffn_hidden_size=intermediate_size, tp_group=groups.tp)


def width_of(part: FeedForward) -> int:
    """The dense width of a layer kind, or the expert width where there is no dense branch."""
    if part.dense is not None:
        return part.dense.intermediate_size
    if part.experts is not None:
        return part.experts.intermediate_size
    raise ValueError("a layer needs a dense branch, experts, or both")
