"""What the decoder is given on both sides: embeddings after placement, and a mask for each layer kind.

Legend: B batch, S sequence, H hidden.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn

from components.fusion.mask_dense import lower_dense

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from composer import Graph


@frozen(eq=False)
class Consumed:
    """embeddings: [B, S, H]; masks: by layer kind, [B, S, S] bool, True where a query may attend to a key."""

    embeddings: Tensor
    masks: dict[str, Tensor]


@torch.no_grad()
def given_to_ours(graph: "Graph", model: Any, run: Callable[[], Any]) -> Consumed:
    """Run a composed model, all on one stage, once, and lower the mask metadata that its decoder gets."""
    seen = _first_call(model.decoder_node, run)
    embeddings, metadata = (value for value in seen if isinstance(value, Tensor) and value.ndim == 3)
    program = model.program
    kinds = dict.fromkeys(graph.decoder().config.layers.order)
    masks = {kind: lower_dense(program.rules[kind], program.layout, metadata)[:, 0] for kind in kinds}
    return Consumed(embeddings.transpose(0, 1), masks)


@torch.no_grad()
def given_to_oracle(graph: "Graph", oracle: "PreTrainedModel", run: Callable[[], Any]) -> Consumed:
    """The same of transformers' model: what its text model gets, and the attention of each kind's first layer."""
    decoder = graph.decoder()
    text: Any = oracle.get_submodule(str(decoder.weights))
    order = decoder.config.layers.order
    attentions = {kind: text.layers[order.index(kind)].self_attn for kind in dict.fromkeys(order)}
    seen: dict[str, list[Any]] = {}
    with ExitStack() as hooks:
        for name, module in {"embeddings": text, **attentions}.items():
            hooks.callback(_keeping(module, seen.setdefault(name, [])).remove)
        run()
    # Where all layers are of one kind, the text model may be given their mask too.
    (embeddings,) = (
        value
        for value in seen.pop("embeddings")
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 3
    )
    return Consumed(embeddings, {kind: _allowed(values) for kind, values in seen.items()})


def _allowed(values: list[Any]) -> Tensor:
    """Eager attention gets a mask [B, 1, S, S]: bool, or floats that are added to the scores."""
    (mask,) = (value for value in values if isinstance(value, Tensor) and value.ndim == 4)
    return mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] == 0


def _first_call(module: nn.Module, run: Callable[[], Any]) -> list[Any]:
    seen: list[Any] = []
    handle = _keeping(module, seen)
    try:
        run()
    finally:
        handle.remove()
    return seen


def _keeping(module: nn.Module, seen: list[Any]) -> Any:
    """Keep what a module is called with first."""

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not seen:
            seen.extend((*args, *kwargs.values()))

    return module.register_forward_pre_hook(keep, with_kwargs=True)
