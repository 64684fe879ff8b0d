"""Several sets of experts, of which each token passes one. Legend: L tokens per row on this rank, B batch, H hidden."""

import copy
from typing import Any

import torch
from attrs import frozen
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from components.build_error import BuildError
from components.fusion.rank_tokens import RankTokens
from components.language.experts import ExpertBranch
from components.language.feed_forward_declaration import Experts


@frozen
class SetPlace:
    """Where the mask metadata say which set a token passes, and which tokens this rank has."""

    field: int
    tokens: RankTokens

    def own(self, metadata: Tensor) -> Tensor:
        """[L * B] int32, in the order of hidden states [L, B, H]; `metadata` are [B, F, S] of whole sequences."""
        return self.tokens.own(metadata[:, self.field]).t().flatten()


class ExpertSets(nn.ModuleDict):
    """The sets beside the first, each with a router of its own; all have as many experts."""

    def __init__(self, config: TransformerConfig, part: Experts, groups: ProcessGroupCollection) -> None:
        super().__init__({name: ExpertBranch(_of_width(config, width), part, groups) for name, width in _widths(part)})
        if part.sets and config.moe_token_dispatcher_type == "allgather":  # noqa: S105 (no password)
            raise BuildError("ranks have different numbers of tokens for a set of experts: use the alltoall dispatcher")

    def set_layer_number(self, layer_number: int) -> None:
        """For Megatron-Core's log of load balancing."""
        for branch in self.values():
            branch.set_layer_number(layer_number)  # type: ignore[operator]

    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: tuple[tuple[int, int, int], ...] = (),
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Megatron-Core's of every set: tensors of a module without this method count as the same everywhere."""
        found: dict[str, Any] = {}
        for name, branch in self.items():
            assert isinstance(branch, ExpertBranch)
            found |= branch.sharded_state_dict(f"{prefix}{name}.", sharded_offsets, metadata)
        return found


def mixed(branches: list[ExpertBranch], expert_input: Tensor, router_input: Tensor, chosen: Tensor) -> Tensor:
    """Each token through the experts of its set.

    A set is given its own tokens alone: Megatron-Core's dispatchers count on `top_k` experts for every token they get.
    Every rank calls every set, with tokens or without: experts are shared among ranks.

    Args:
        branches: the sets, the first one first.
        expert_input: [L, B, H] what experts read; router_input: [L, B, H] what routers read.
        chosen: [L * B] int, the number of each token's set.

    Returns:
        [L, B, H].
    """
    flat, routed = expert_input.flatten(0, 1), router_input.flatten(0, 1)
    output = torch.zeros_like(flat)
    for number, branch in enumerate(branches):
        own = (chosen == number).nonzero().squeeze(-1)
        made = branch(flat[own].unsqueeze(1), routed[own].unsqueeze(1))
        # Not index_copy, whose backward pass would keep what was made.
        output = output.index_put((own,), made.squeeze(1))
    return output.view_as(expert_input)


def _widths(part: Experts) -> list[tuple[str, int]]:
    return [(name, each.intermediate_size) for name, each in part.sets.items()]


def _of_width(config: TransformerConfig, width: int) -> TransformerConfig:
    sized = copy.copy(config)
    sized.moe_ffn_hidden_size = width
    return sized
