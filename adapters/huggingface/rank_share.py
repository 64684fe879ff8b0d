"""What of a model one rank of a parallel layout holds."""

from typing import Any

import numpy as np
from attrs import frozen
from torch import nn

from adapters.huggingface.stored_matrix import dimensions
from composer.graph import Graph


@frozen
class Part:
    """The `index`-th of `parts` equal stretches of a dimension."""

    index: int = 0
    parts: int = 1


@frozen
class Inside:
    """`part` of dimension `dim` of every expert; a fused dimension is `times` stretches, each shared on its own."""

    dim: int = 1
    times: int = 1
    part: Part = Part()


@frozen
class Window:
    """The part of a Hugging Face tensor that one rank holds: `part` of dimension `dim`, and of that, what is inside.

    `stretches`, if given, are lengths of dimension 0 of the rank's part: the whole tensor has as many,
    as much longer as there are parts, and the rank holds its part of each.
    """

    dim: int = 0
    part: Part = Part()
    inside: Inside = Inside()
    stretches: tuple[int, ...] = ()

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The Hugging Face tensor's shape, from that of the rank's part."""
        return tuple(size * self._parts(dim) for dim, size in enumerate(shape))

    def origin(self, shape: tuple[int, ...], line: int, number: int = 0, beside: int = 1) -> tuple[int, int]:
        """Where a line of the rank's part, which has shape `shape`, begins in the Hugging Face tensor: line, column.

        If `beside` stretches of columns stand beside each other, each of them shared on its own: of the `number`-th.
        """
        if self.stretches:
            return self._of_stretches(shape, line), 0
        here: list[int] = []
        there: list[int] = []
        offset: list[int] = []
        # A matrix has no middle one of the three.
        names = (0, 1, 2) if len(shape) == 3 else (0, None, 1)
        for dim, size in zip(names, dimensions(shape), strict=True):
            times = self.inside.times if dim == self.inside.dim else 1
            times = max(times, beside) if dim == names[-1] else times
            stretch = size // times
            here += [times, stretch]
            there += [times, stretch * self._parts(dim)]
            offset += [0, stretch * self._index(dim)]
        # The last of these numbers counts stretches of columns; there is one, but for those beside each other.
        index = np.add(np.unravel_index(line * here[-2] + number, here[:-1]), offset[:-1])
        place, stretch_number = divmod(int(np.ravel_multi_index(tuple(index), there[:-1])), there[-2])
        return place, stretch_number * there[-1] + offset[-1]

    def _of_stretches(self, shape: tuple[int, ...], line: int) -> int:
        _, lines_of_each, _ = dimensions(shape)
        left = line
        before = 0
        for stretch in self.stretches:
            size = stretch * lines_of_each
            if left < size:
                return before * self.part.parts + self.part.index * size + left
            left, before = left - size, before + size
        raise IndexError(f"line {line} of a tensor of {before}")

    def _parts(self, dim: int | None) -> int:
        outer = self.part.parts if dim == self.dim else 1
        return outer * (self.inside.part.parts if dim == self.inside.dim else 1)

    def _index(self, dim: int | None) -> int:
        """A dimension is shared once, by one of both."""
        return self.part.index if dim == self.dim else self.inside.part.index if dim == self.inside.dim else 0


@frozen
class RankShare:
    """Where a rank stands in a layout, as far as its weights depend on it."""

    tensors: Part = Part()
    experts: Part = Part()
    expert_tensors: Part = Part()
    layers: tuple[int, ...] | None = None
    """Global indices of the decoder layers, in order; None: all."""
    first_stage: bool = True
    last_stage: bool = True
    speaks: bool = True
    """Whether it is the first of the data- and context-parallel ranks that hold the same."""
    speaks_for_experts: bool = True

    def window(self, split: int | str | None) -> Window:
        """Of a tensor that is split so (see `weight_map.Entry`)."""
        if split is None:
            return Window()
        if split == "E":
            return Window(0, self.experts)
        if isinstance(split, str):
            return Window(int(split.removeprefix("E")), self.expert_tensors)
        return Window(split, self.tensors)

    def inside(self, inside: tuple[int, int] | None) -> Inside:
        """Of each expert (see `weight_rows.Row`)."""
        return Inside() if inside is None else Inside(*inside, self.expert_tensors)

    @property
    def is_whole(self) -> bool:
        """Whether one rank holds every weight."""
        split = max(self.tensors.parts, self.experts.parts, self.expert_tensors.parts)
        return split == 1 and self.first_stage and self.last_stage


WHOLE = RankShare()


def share_of(model: nn.Module) -> RankShare:
    """What a composed model, one (virtual) pipeline stage of one rank, holds."""
    groups: Any = getattr(model, "pg_collection", None)
    config: Any = model.config
    graph: Graph = config.graph
    if groups is None or not hasattr(model, "pre_process"):
        return WHOLE
    layers: Any = getattr(model, graph.decoder().name).decoder.layers
    experts = bool(config.num_moe_experts)
    return RankShare(
        tensors=Part(groups.tp.rank(), groups.tp.size()),
        experts=Part(groups.ep.rank(), groups.ep.size()) if experts else Part(),
        expert_tensors=Part(groups.expt_tp.rank(), groups.expt_tp.size()) if experts else Part(),
        layers=tuple(layer.layer_number - 1 for layer in layers),
        first_stage=bool(model.pre_process),
        last_stage=bool(model.post_process),
        speaks=groups.dp_cp.rank() == 0,
        speaks_for_experts=groups.expt_dp.rank() == 0,
    )
