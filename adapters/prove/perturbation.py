"""One feature row turned around where it enters the text; a decoder in which one layer alone attends.

Legend: B batch, S sequence, N feature rows, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adapters.huggingface.weight_map import Entry

ATTENTION_OUTPUT = "self_attention.linear_proj.weight"


@contextmanager
def perturbed_row(projector: nn.Module, row: int) -> Iterator[None]:
    """Row `row` of what `projector` answers, [N, H] or [..., H] with as many rows in all, with its sign changed.

    A changed sign keeps the row's size and turns every attention score of its key around: it cannot go unnoticed by
    a query that sees it, however little weight it had before. The tower is not involved.
    """

    def turn(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output.flatten(0, -2)[row] *= -1
        return output

    handle = projector.register_forward_hook(turn)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def perturbed_embedding(text_model: nn.Module, sample: int, position: int) -> Iterator[None]:
    """What a text model of transformers is given for one token, `inputs_embeds` [B, S, H], with its sign changed."""

    def turn(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        embeddings = kwargs["inputs_embeds"].clone()
        embeddings[sample, position] *= -1
        return args, kwargs | {"inputs_embeds": embeddings}

    handle = text_model.register_forward_pre_hook(turn, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def attending_alone(
    layer: int, entries: tuple[Entry, ...], ours: nn.Module, oracle: nn.Module | None
) -> Iterator[None]:
    """Only decoder layer `layer` moves anything between tokens: the others' attention adds nothing, on both sides."""
    silenced: list[Tensor] = []
    for entry in entries:
        output_of = _attention_output(entry.composed[0])
        if output_of not in (None, layer):
            silenced.append(ours.get_parameter(entry.composed[0]))
            silenced += [] if oracle is None else [oracle.get_parameter(name) for name in entry.names]
    with ExitStack() as kept, torch.no_grad():
        for weight in silenced:
            kept.callback(_put_back(weight, weight.detach().clone()))
            weight.zero_()
        yield


def _put_back(weight: Tensor, values: Tensor) -> Callable[[], None]:
    def put() -> None:
        with torch.no_grad():
            weight.copy_(values)

    return put


def _attention_output(name: str) -> int | None:
    """The decoder layer whose attention output this parameter projects, or None."""
    _, _, below = name.partition(".decoder.layers.")
    index, _, part = below.partition(".")
    return int(index) if part == ATTENTION_OUTPUT else None


def changes(run: Callable[[], Tensor], turned: AbstractContextManager[None], reference: Tensor) -> Tensor:
    """[B, S] relative change, on the CPU, of each token's logits [B, S, V] while one feature row is turned around."""
    with torch.no_grad(), turned:
        difference = (run() - reference).norm(dim=-1)
    return (difference / reference.norm(dim=-1)).cpu()
