"""One feature row turned around where it enters the text; a decoder in which one layer alone attends.

Legend: B batch, S sequence, N feature rows, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from adapters.huggingface.weight_map import Entry
from adapters.megatron.call import Call, Step, rows_of
from adapters.megatron.inject_step import Injected, InjectStep
from adapters.megatron.module import ComposedModel
from adapters.megatron.steps import ScatterStep

ATTENTION_OUTPUT, DECAY = "self_attention.linear_proj.weight", "self_attention.decay"
REMEMBERED = -7.0
"""Logarithm of how fast a state is forgotten while a layer is alone: a thousandth a token, whatever its weights say.

Heads of a seeded model forget within a few tokens, and a change that has faded is no proof of who can be changed.
"""


@frozen(eq=False)
class TurnStep:
    """A scatter step before which one row of its features, another in each call, has its sign changed.

    A changed sign keeps the row's size and turns every attention score of its key around: it cannot go unnoticed by
    a query that sees it, however little weight it had before. The tower is not involved.
    """

    placing: ScatterStep
    rows: Iterator[int | None]
    """Numbers among the rows that the step places, one for each call; None: none is turned."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        source = self.placing.source
        row, found = next(self.rows), rows_of(call, source, source, self.placing.of)
        if row is not None and found is not None:
            features = call.values[source].clone()
            turned = row + int(found.rows.start or 0)
            features[turned] *= -1
            call.values[source] = features
        self.placing(model, call)


@frozen(eq=False)
class TurnLevelStep:
    """An inject step before which one row of one level, another in each call, has its sign changed."""

    injecting: InjectStep
    block: Injected
    level: int
    rows: Iterator[int | None]

    def __call__(self, model: nn.Module, call: Call) -> None:
        source = self.block.source
        row, found = next(self.rows), rows_of(call, self.block.node, source, self.block.of)
        if row is not None and found is not None:
            levels = call.values[source].clone()
            levels[self.level, (found.rows.start or 0) + row] *= -1
            call.values[source] = levels
        self.injecting(model, call)


@contextmanager
def turned_rows(
    model: ComposedModel, at: tuple[str, ...], rows: Iterable[int | None], level: int | None = None
) -> Iterator[None]:
    """In call n of a model's first stage, row n of `rows` is turned where the tokens `at` are filled.

    Args:
        model: all of it, or a stage.
        at: the tokens of a scatter edge, and of an inject edge.
        rows: numbers among those of the edge.
        level: of the inject edge; None: the features that are scattered.
    """
    program = model.program
    turning = iter(rows)

    def turned(step: Step) -> Step:
        if level is None and isinstance(step, ScatterStep) and step.names == at:
            return TurnStep(step, turning)
        if level is not None and isinstance(step, InjectStep):
            (block,) = (block for block in step.blocks if block.names == at)
            return TurnLevelStep(step, block, level, turning)
        return step

    model.program = evolve(program, steps=tuple(map(turned, program.steps)))
    try:
        yield
    finally:
        model.program = program


@contextmanager
def turned_answer(module: nn.Module, field: str | None, index: int | None, row: int) -> Iterator[None]:
    """Row `row` of what one of transformers' modules answers has its sign changed, counted over all of its calls.

    Args:
        module: answers [N, H] or [..., H] with as many rows in all, or an object that has them.
        field: the object's field; None: the answer is a tensor.
        index: the place in the list that the field holds; None: it holds the rows.
        row: of all rows, call after call.
    """
    seen = [0]

    def turn(_module: nn.Module, _args: Any, output: Any) -> Any:
        value = output if isinstance(output, Tensor) else getattr(output, str(field))
        rows = (value if index is None else value[index]).clone()
        flat = rows.flatten(0, -2)
        if 0 <= row - seen[0] < len(flat):
            flat[row - seen[0]] *= -1
        seen[0] += len(flat)
        if isinstance(output, Tensor):
            return rows
        turned = copy(output)
        others = None if index is None else list(value)
        if others is not None and index is not None:
            others[index] = rows
        setattr(turned, str(field), rows if others is None else others)
        return turned

    handle = module.register_forward_hook(turn)
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


def changes(run: Callable[[], Tensor], turned: AbstractContextManager[None], reference: Tensor) -> Tensor:
    """[B, S] relative change, on the CPU, of each token's logits [B, S, V] where something is turned around."""
    with torch.no_grad(), turned:
        difference = (run() - reference).norm(dim=-1)
    return (difference / reference.norm(dim=-1)).cpu()
