"""Which rows of a tower its projector reads, found by comparing numbers.

Legend: N feature rows of all pictures, C the tower's width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from adapters.parity.recording import Call
from components.fusion.pack import PackError, pack
from composer.edges.pack import Pack

SAME = 1e-5  # relative: the same numbers but for the order of additions
BLOCKS = (1, 2, 3, 4)
DROPS = (0, 1)


@frozen
class Taken:
    """How features are taken: an output field, or layers by number, and operations on the way."""

    output: str | None = None
    layers: int | tuple[int, ...] | None = None
    operations: tuple[Pack, ...] = ()

    def words(self) -> str:
        """As a sentence holds it."""
        rows = f"field {self.output}" if self.layers is None else f"hidden states {self.layers}"
        packed = ", ".join(map(str, self.operations))
        return f"{rows} of the tower" + (f", {packed}" if packed else ", all its rows")


@torch.no_grad()
def taken_rows(module: Any, call: Call, items: int | None, wanted: Tensor) -> Taken | None:
    """The simplest way to `wanted`, feature rows of any shape with the width last; None if none is known.

    Args:
        module: a tower of transformers, in evaluation mode.
        call: what it was called with.
        items: pictures, if all make as many rows; None: rows are not dropped and not put together.
        wanted: what its rows become.
    """
    outputs = _outputs(module, call)
    states = outputs.pop("hidden_states")
    target = wanted.flatten(0, -2)
    for operations in _operations():
        for name, value in outputs.items():
            if _same(_packed(value, items, operations), target):
                return Taken(output=name, operations=operations)
        layers = _layers([_packed(state, items, operations) for state in states], target)
        if layers is not None:
            return Taken(layers=layers, operations=operations)
    return None


def _outputs(module: Any, call: Call) -> dict[str, Any]:
    """Tensor fields of a tower's output, its last hidden state first, and all hidden states."""
    output = module(**{**call.tensors(), "output_hidden_states": True})
    fields = dict(output.items()) if hasattr(output, "items") else {"last_hidden_state": output[0]}
    found = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
    states = fields.get("hidden_states")
    return {**found, "hidden_states": states if isinstance(states, tuple | list) else ()}


def _operations() -> Iterator[tuple[Pack, ...]]:
    for block in BLOCKS:
        for drop in DROPS:
            dropped = [Pack(drop_first=drop)] if drop else []
            shuffled = [Pack(pixel_shuffle=1 / block)] if block > 1 else []
            yield (*dropped, *shuffled)


def _packed(value: Tensor, items: int | None, operations: tuple[Pack, ...]) -> Tensor | None:
    if value.ndim < 2:
        return None
    rows = value.flatten(0, -2)
    if not operations:
        return rows
    if not items or len(rows) % items:
        return None
    try:
        return pack(rows, torch.full((items,), len(rows) // items), operations)[0]
    except PackError:
        return None


def _layers(states: list[Tensor | None], target: Tensor) -> int | tuple[int, ...] | None:
    """Numbers of hidden states whose rows are the target's, side by side; counted from the end."""
    known = [state for state in states if state is not None]
    if not known or len(known) != len(states) or target.shape[-1] % known[0].shape[-1]:
        return None
    chosen = []
    for part in target.split(known[0].shape[-1], -1):
        found = [number for number, state in enumerate(known) if _same(state, part)]
        if not found:
            return None
        chosen.append(found[-1] - len(known))
    return chosen[0] if len(chosen) == 1 else tuple(chosen)


def _same(ours: Tensor | None, wanted: Tensor) -> bool:
    if ours is None or ours.shape != wanted.shape:
        return False
    return bool((ours - wanted).norm() <= SAME * wanted.norm())
