"""What the decoder is given on both sides: embeddings after placement, and a mask for each layer kind.

Legend: B batch, S sequence, H hidden.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.huggingface.weight_map import weight_map
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
    embeddings, metadata, *_ = (value for value in seen if isinstance(value, Tensor))
    program = model.program
    kinds = dict.fromkeys(graph.decoder().config.layers.order)
    masks = {kind: lower_dense(program.rules[kind], program.layout, metadata)[:, 0] for kind in kinds}
    return Consumed(embeddings.transpose(0, 1), masks)


@torch.no_grad()
def given_to_oracle(graph: "Graph", oracle: "PreTrainedModel", run: Callable[[], Any]) -> Consumed:
    """The same of transformers' model: what its text model gets, and what mixes tokens in each kind's first layer."""
    text: Any = oracle.get_submodule(str(graph.decoder().weights))
    seen: dict[str, list[Any]] = {}
    with ExitStack() as hooks:
        for name, module in {"embeddings": text, **_mixers(graph, oracle)}.items():
            hooks.callback(_keeping(module, seen.setdefault(name, [])).remove)
        run()
    # Where all layers are of one kind, the text model may be given their mask too.
    (embeddings,) = (
        value
        for value in seen.pop("embeddings")
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim == 3
    )
    kinds = graph.decoder().config.layers.kinds
    attends = {kind: kinds[kind].attention is not None for kind in seen}
    batch, length = embeddings.shape[:2]
    return Consumed(
        embeddings,
        {kind: _allowed(values) if attends[kind] else _before(values, batch, length) for kind, values in seen.items()},
    )


def _mixers(graph: "Graph", oracle: "PreTrainedModel") -> dict[str, nn.Module]:
    """The module of each layer kind's first layer that holds what mixes tokens: whose output `linear_proj` projects."""
    decoder = graph.decoder()
    order = decoder.config.layers.order
    outputs = {entry.composed[0]: entry.names[0] for entry in weight_map(graph, ())}
    firsts = {kind: f"{decoder.name}.decoder.layers.{order.index(kind)}" for kind in order}
    names = {kind: outputs[f"{layer}.self_attention.linear_proj.weight"] for kind, layer in firsts.items()}
    return {kind: oracle.get_submodule(name.rsplit(".", 2)[0]) for kind, name in names.items()}


def _allowed(values: list[Any]) -> Tensor:
    """Eager attention gets a mask [B, 1, S, S]: bool, or floats that are added to the scores."""
    (mask,) = (value for value in values if isinstance(value, Tensor) and value.ndim == 4)
    return mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] == 0


def _before(values: list[Any], batch: int, length: int) -> Tensor:
    """What goes along the tokens gets no table: it sees all tokens before, but for padding, of which it is told.

    transformers tells it by a mask [B, S] of integers, or nothing where no row has padding.
    """
    real = [
        value for value in values if isinstance(value, Tensor) and value.ndim == 2 and not value.is_floating_point()
    ]
    whole = torch.ones(batch, length, length, dtype=torch.bool, device=values[0].device).tril()
    return whole & real[0].bool()[:, None] if real else whole


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
