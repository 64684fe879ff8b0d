"""One feature row turned around where it enters the text; a decoder in which one layer alone attends.

Legend: B batch, S sequence, N feature rows, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adapters.huggingface.weight_map import Entry

ATTENTION_OUTPUT, DECAY = "self_attention.linear_proj.weight", "self_attention.decay"
REMEMBERED = -7.0
"""Logarithm of how fast a state is forgotten while a layer is alone: a thousandth a token, whatever its weights say.

Heads of a seeded model forget within a few tokens, and a change that has faded is no proof of who can be changed.
"""


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
def attending_alone(
    layer: int, entries: tuple[Entry, ...], ours: nn.Module, oracle: nn.Module | None
) -> Iterator[None]:
    """Only decoder layer `layer` moves anything between tokens: the others' mixers add nothing, on both sides.

    If it keeps a state, it forgets nothing of it.
    """
    changed: list[tuple[Tensor, float]] = []
    for entry in entries:
        number, part = _layer_and_part(entry.composed[0])
        value = 0.0 if part == ATTENTION_OUTPUT and number != layer else None
        value = REMEMBERED if part == DECAY and number == layer else value
        if value is not None:
            theirs = [] if oracle is None else [oracle.get_parameter(name) for name in entry.names]
            changed += [(weight, value) for weight in (ours.get_parameter(entry.composed[0]), *theirs)]
    with changed_weights(changed):
        yield


@contextmanager
def changed_weights(changed: Iterable[tuple[Tensor, float]]) -> Iterator[None]:
    """Some weights filled with a number each, and put back."""
    with ExitStack() as kept, torch.no_grad():
        for weight, value in changed:
            kept.callback(_put_back(weight, weight.detach().clone()))
            weight.fill_(value)
        yield


def _put_back(weight: Tensor, values: Tensor) -> Callable[[], None]:
    def put() -> None:
        with torch.no_grad():
            weight.copy_(values)

    return put


def _layer_and_part(name: str) -> tuple[int | None, str]:
    """The decoder layer of a parameter, and its name there; None if it is in none."""
    _, _, below = name.partition(".decoder.layers.")
    index, _, part = below.partition(".")
    return (int(index), part) if index else (None, "")


def changes(run: Callable[[], Tensor], projector: nn.Module, row: int, reference: Tensor) -> Tensor:
    """[B, S] relative change, on the CPU, of each token's logits [B, S, V] when one feature row is turned around."""
    with torch.no_grad(), perturbed_row(projector, row):
        difference = (run() - reference).norm(dim=-1)
    return (difference / reference.norm(dim=-1)).cpu()
