"""How tensors of a Hugging Face checkpoint lie inside tensors of a composed model, as views.

A view serves both directions: import copies into it, export reads from it, so an operation cannot disagree with its
inverse. Nothing here allocates.

Legend: H hidden, I width inside a feed-forward branch, E experts, G key/value groups, R query heads per group, D head
width. All sizes are of one rank.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor

from adapters.huggingface.stored_matrix import Matrix
from components.language.gpt_declaration import Layer


@frozen(eq=False)
class Piece:
    """One Hugging Face tensor, or a rank's part of one, inside composed tensors.

    `shape` is the Hugging Face tensor's. The views, one after the other, hold its elements in order; if they stand
    `beside` each other, so many of them are the columns of the same lines, from left to right. `stretches`, if given,
    are lengths of its first dimension that lie one after another, each of which ranks share on its own.
    """

    shape: tuple[int, ...]
    views: tuple[Tensor, ...]
    beside: int = 1
    stretches: tuple[int, ...] = ()

    def matrices(self) -> Iterator[tuple[Tensor, int, int]]:
        """The views cut into matrices [lines, width], each with its first line (see `stored_matrix.py`), and which of
        those beside each other it is.
        """
        width, line = Matrix.of(self.shape).width // self.beside, 0
        for first in range(0, len(self.views), self.beside):
            start = line
            for number, view in enumerate(self.views[first : first + self.beside]):
                line = start
                for matrix in _matrices(view.detach(), width):
                    yield matrix, line, number
                    line += matrix.shape[0]

    def values(self) -> Tensor:
        """The Hugging Face tensor as one of its own: a copy."""
        width = Matrix.of(self.shape).width // self.beside
        rows = [view.reshape(-1, width) for view in self.views]
        sides = [torch.cat(rows[number :: self.beside]) for number in range(self.beside)]
        return torch.cat(sides, dim=-1).reshape(self.shape)


def _matrices(view: Tensor, width: int) -> Iterator[Tensor]:
    """Whole where strides allow it, otherwise index by index of the first dimension; never a copy."""
    if not view.numel():
        return
    try:
        yield view.view(-1, width)
    except RuntimeError:
        for each in view.unbind():
            yield from _matrices(each, width)


Operation = Callable[[Sequence[Tensor]], tuple[Piece, ...]]
"""From the composed tensors of an entry to one piece per Hugging Face tensor of it."""


def identity(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """The same tensor on both sides."""
    (tensor,) = composed
    return (_whole(tensor),)


def transpose(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """A matrix [M, N] that Hugging Face stores as [N, M]."""
    (tensor,) = composed
    return (_whole(tensor.transpose(-1, -2)),)


def row(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """[N] from [1, N]."""
    (tensor,) = composed
    return (_whole(tensor.unsqueeze(0)),)


def merge_gate_up(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """[2I, H], gate rows first, from gate [I, H] and up [I, H]."""
    (tensor,) = composed
    gate, up = tensor.chunk(2, dim=0)
    return _whole(gate), _whole(up)


def stack_experts(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """E tensors from one [E, ...]."""
    return (Piece((len(composed), *composed[0].shape), tuple(composed)),)


def stack_gate_up(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """E matrices [2I, H], gate rows first, from one [E, 2I, H]; the halves are views of their own."""
    halves = tuple(half for tensor in composed for half in tensor.chunk(2, dim=0))
    return (Piece((len(composed), *composed[0].shape), halves),)


def each_whole(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """E tensors from as many."""
    return tuple(_whole(tensor) for tensor in composed)


def each_half(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """E matrices [2I, H], gate rows first, from gate [I, H] and up [I, H] of every expert."""
    return tuple(_whole(half) for tensor in composed for half in tensor.chunk(2, dim=0))


def stack_transposed_experts(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """E matrices [M, N] from one [E, N, M]."""
    return stack_experts([tensor.transpose(-1, -2) for tensor in composed])


def stack_transposed_gate_up(composed: Sequence[Tensor]) -> tuple[Piece, ...]:
    """E matrices [2I, H], gate rows first, from one [E, H, 2I], gate columns first."""
    halves = tuple(half for tensor in composed for half in tensor.transpose(-1, -2).chunk(2, dim=1))
    rows, width = composed[0].shape
    return (Piece((len(composed), width, rows), halves, beside=2),)


@frozen
class MergeHeads:
    """[G·(R+2)·D, ...] (or R+1 where keys are values) from queries [G·R·D, ...], keys [G·D, ...] and values.

    Rows are ordered by group: the group's query heads, its key head, its value head, as in Megatron-Core's
    `SelfAttention.get_query_key_value_tensors`; query heads of a group are neighbours on both sides. With gates there
    are 2R for R: on both sides each query head is followed by its gate.
    """

    heads: int
    groups: int
    values: bool
    gates: bool = False

    def __call__(self, composed: Sequence[Tensor]) -> tuple[Piece, ...]:
        """Views of one tensor, weight or bias."""
        (tensor,) = composed
        per_group = self.heads // self.groups * (2 if self.gates else 1)
        sizes = (per_group, 1, 1) if self.values else (per_group, 1)
        # [G, heads of the group, D, ...]
        grouped = tensor.unflatten(0, (self.groups, sum(sizes), -1))
        return tuple(
            Piece((view.shape[0] * view.shape[1] * view.shape[2], *tensor.shape[1:]), (view,))
            for view in grouped.split(sizes, dim=1)
        )


def _merge_heads(layer: Layer, ranks: int) -> Operation:
    part = layer.attention
    assert part is not None
    gates = part.output_gate != "none"
    return MergeHeads(part.heads // ranks, part.kv_heads // ranks, values=not part.values.keys, gates=gates)


@frozen
class MergeDelta:
    """One tensor [G·N, ...], ordered by key head, from Hugging Face tensors each ordered by key head.

    `parts` are rows of one key head, in the order they lie here; `pieces` which of them each Hugging Face tensor holds,
    one stretch of all key heads after the other.
    """

    groups: int
    parts: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...]

    def __call__(self, composed: Sequence[Tensor]) -> tuple[Piece, ...]:
        """Views of one tensor."""
        (tensor,) = composed
        # [G, rows of the part, ...]
        views = tensor.unflatten(0, (self.groups, sum(self.parts))).split(self.parts, dim=1)
        rows = [self.groups * part for part in self.parts]
        return tuple(
            Piece(
                (sum(rows[part] for part in piece), *tensor.shape[1:]),
                tuple(views[part] for part in piece),
                stretches=tuple(rows[part] for part in piece) if len(piece) > 1 else (),
            )
            for piece in self.pieces
        )


def _merge_delta(layer: Layer, ranks: int) -> Operation:
    """Query, key and values; strength; decay; gate."""
    part = layer.delta_net
    assert part is not None
    values = part.values_per_key * part.value_dim
    parts = (part.key_dim, part.key_dim, values, part.values_per_key, part.values_per_key, values)
    return MergeDelta(part.key_heads // ranks, parts, ((0, 1, 2), (3,), (4,), (5,)))


def _merge_convolution(layer: Layer, ranks: int) -> Operation:
    """Channels of query, key and values."""
    part = layer.delta_net
    assert part is not None
    parts = (part.key_dim, part.key_dim, part.values_per_key * part.value_dim)
    return MergeDelta(part.key_heads // ranks, parts, ((0, 1, 2),))


def _whole(tensor: Tensor) -> Piece:
    return Piece(tuple(tensor.shape), (tensor,))


OPERATIONS: dict[str, Operation] = {
    "identity": identity,
    "transpose": transpose,
    "row": row,
    "merge gate up": merge_gate_up,
    "stack experts": stack_experts,
    "stack gate up": stack_gate_up,
    "stack transposed": stack_transposed_experts,
    "stack transposed gate up": stack_transposed_gate_up,
}
TRANSPOSED = {"stack gate up": "stack transposed gate up", "stack experts": "stack transposed"}
"""The operation for experts that lie transposed on the other side."""
FUSED = {"stack gate up": 2, "stack transposed gate up": 2}
"""How many matrices lie one after another in the dimension that ranks share; one, if not here."""
LAYER_OPERATIONS: dict[str, Callable[[Layer, int], Operation]] = {
    "merge heads": _merge_heads,
    "merge delta": _merge_delta,
    "merge conv": _merge_convolution,
}
"""Operations that read the layer, and over how many tensor-parallel ranks its heads are split."""
