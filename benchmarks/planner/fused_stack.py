"""What published runs fuse and this project's decoder does not, so that their rows are estimated as they ran.

Megatron-Bridge's recipes turn on Megatron-Core's fused rotation, gated activation and permutation of tokens, and send
tokens with DeepEP: one copy to each node that holds one of a token's experts. The decoder of this project rotates and
gates with single operations, and sends every copy.
"""

from attrs import define, evolve

from components.language.costs.decoder import GptCosts
from components.language.work.layer import messages_of_layer, work_of_layer
from composer.plans.costs import Costs, Message, Setting, Work

FUSED = {"rotation": 2 / 9, "gate": 3 / 7, "dispatch": 8 / 18, "experts": 3 / 13}
"""Bytes of the fused kernel for those of single operations: reading and writing once. `experts`: gate and router's
weight in one kernel, for 14 + 12 bytes of an element."""


@define(slots=False, eq=False)
class FusedStack(GptCosts):
    """A decoder as the published runs compute it. nodes: that its expert-parallel ranks stand on."""

    nodes: int = 1

    def layer(self, kind: str, setting: Setting) -> Costs:  # type: ignore[override]
        """As of the decoder, with fewer bytes; only time is asked for, in layouts too that this project refuses."""
        experts = self.section.layers.kinds[kind].ffn.experts
        messages = messages_of_layer(self.section, kind, setting)
        if experts is not None:
            messages = fewer_copies(messages, self.nodes, experts.top_k)
        return Costs(tuple(map(fused, work_of_layer(self.section, kind, setting))), (), messages)


def fused(work: Work) -> Work:
    """An operation with the bytes of the fused kernel it is part of."""
    name = "gate" if work.part == "dense" else work.part
    return evolve(work, bytes=work.bytes * FUSED[name]) if work.kind == "elementwise" and name in FUSED else work


def fewer_copies(
    messages: tuple[Message, ...], nodes: int, top_k: int, at_most: int | None = None
) -> tuple[Message, ...]:
    """One copy for each node that holds one of a token's experts, were they chosen evenly.

    Args:
        messages: with every copy. nodes: that experts stand on. top_k: experts of a token.
        at_most: nodes that a token may go to (group-limited routing).
    """
    reached = nodes * (1 - (1 - 1 / nodes) ** top_k) if nodes > 1 else top_k
    share = min(reached, at_most or reached) / top_k
    return tuple(
        evolve(message, bytes=message.bytes * share) if message.collective == "all_to_all" else message
        for message in messages
    )
