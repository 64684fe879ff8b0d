"""Layers that keep a state, in tiny models: what they need to be measured at all."""

from typing import TYPE_CHECKING

import torch

from adapters.huggingface.weight_map import weight_map

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from composer import Graph

DECAY = "self_attention.decay"
SLOWEST, FASTEST = -5.0, -1.0
"""Logarithms of how fast heads forget: within a hundred tokens, and within a few."""


def keeps_states(graph: "Graph") -> bool:
    """By what the decoder's layers are, whatever the model is called."""
    layers = graph.decoder().config.layers
    return any(layers.kinds[kind].delta_net is not None for kind in layers.order)


@torch.no_grad()
def let_remember(graph: "Graph", oracle: "PreTrainedModel") -> None:
    """Let the heads of every layer forget at speeds from slow to fast.

    A fresh head forgets within a token: nothing of a state would be measured, and what it answers is one number times a
    value, of which the norm behind it keeps the sign. Where that number is near zero, rounding is all there is.
    """
    for entry in weight_map(graph, ()):
        if entry.composed[0].endswith(DECAY):
            decay = oracle.get_parameter(entry.names[0])
            decay.copy_(torch.linspace(SLOWEST, FASTEST, decay.numel()))
