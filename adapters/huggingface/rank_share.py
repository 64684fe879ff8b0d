"""What of a model one rank of a parallel layout holds."""

from typing import Any

from attrs import frozen
from torch import nn

from adapters.huggingface.checkpoint_error import CheckpointError
from composer.graph import Graph


@frozen
class Part:
    """The `index`-th of `parts` equal stretches of a dimension."""

    index: int = 0
    parts: int = 1


@frozen
class Window:
    """The rows and columns of a Hugging Face tensor that one rank holds: `part` of dimension `dim`."""

    dim: int = 0
    part: Part = Part()

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The Hugging Face tensor's shape, from that of the rank's stretch."""
        return tuple(size * self.part.parts if dim == self.dim else size for dim, size in enumerate(shape))

    def rows(self, start: int, stop: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows of the Hugging Face tensor that are rows start to stop of the stretch of shape `shape`."""
        offset = self.part.index * shape[0] if self.dim == 0 and shape else 0
        return start + offset, stop + offset

    def columns(self, shape: tuple[int, ...]) -> slice | None:
        """Columns of the Hugging Face tensor that the stretch of shape `shape` is; None: all of them."""
        if self.dim != 1 or self.part.parts == 1:
            return None
        return slice(self.part.index * shape[1], (self.part.index + 1) * shape[1])


@frozen
class RankShare:
    """Where a rank stands in a layout, as far as its weights depend on it."""

    tensors: Part = Part()
    experts: Part = Part()
    layers: tuple[int, ...] | None = None
    """Global indices of the decoder layers, in order; None: all."""
    first_stage: bool = True
    last_stage: bool = True

    def window(self, split: int | str | None) -> Window:
        """Of a tensor that is split so (see `weight_table.py`)."""
        if split is None:
            return Window()
        return Window(0, self.experts) if split == "E" else Window(int(split), self.tensors)

    @property
    def is_whole(self) -> bool:
        """Whether one rank holds every weight."""
        return self.tensors.parts == self.experts.parts == 1 and self.first_stage and self.last_stage


WHOLE = RankShare()


def share_of(model: nn.Module) -> RankShare:
    """What a composed model, one (virtual) pipeline stage of one rank, holds.

    Raises:
        CheckpointError: its experts are split inside (expert tensor parallelism).
    """
    groups: Any = getattr(model, "pg_collection", None)
    config: Any = model.config
    graph: Graph = config.graph
    if groups is None or not hasattr(model, "pre_process"):
        return WHOLE
    if config.num_moe_experts and config.expert_tensor_parallel_size > 1:
        raise CheckpointError("model", ["experts split inside (expert tensor parallelism) are not read or written yet"])
    layers: Any = getattr(model, graph.decoder().name).decoder.layers
    return RankShare(
        tensors=Part(groups.tp.rank(), groups.tp.size()),
        experts=Part(groups.ep.rank(), groups.ep.size()) if config.num_moe_experts else Part(),
        layers=tuple(layer.layer_number - 1 for layer in layers),
        first_stage=bool(model.pre_process),
        last_stage=bool(model.post_process),
    )
