"""Levels of features in one pipeline stage of the decoder: which arrive, which layers add one, which go on.

Legend: S sequence, L this rank's part of it, B batch, F metadata fields, H hidden, K levels that arrive, N their rows.
"""

from attrs import frozen
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch import Tensor

from components.context import BuildContext
from components.fusion.inject import pack_stage, unpack_stage
from components.fusion.rank_tokens import RankTokens


@frozen
class LevelPlace:
    """What a decoder layer adds to its output."""

    level: int
    """Index among the levels that arrive at the layer's stage."""
    field: int
    """Of the mask metadata: numbers of rows."""
    tokens: RankTokens


@frozen
class Injection:
    """What one stage does with levels."""

    after: tuple[int, ...]
    """The layers, of the whole decoder, that one is added after each."""
    first: int
    """First layer of the stage."""
    count: int
    """Layers of the stage."""
    field: int
    tokens: RankTokens

    @classmethod
    def of(cls, context: BuildContext, count: int) -> "Injection":
        """Of the stage that is being built, which has `count` layers."""
        return cls(
            context.injected,
            get_transformer_layer_offset(context.transformer, context.vp_stage, context.groups.pp.rank()),
            count,
            context.layout.row_field,
            RankTokens.of(context.groups, sequence_parallel=context.transformer.sequence_parallel),
        )

    @property
    def arriving(self) -> int:
        """K: levels that this stage or a later one adds."""
        return sum(layer >= self.first for layer in self.after)

    @property
    def leaving(self) -> int:
        """Levels that later stages add."""
        return sum(layer >= self.first + self.count for layer in self.after)

    def place(self, number: int) -> LevelPlace | None:
        """What layer `number` of the stage adds."""
        if self.first + number not in self.after:
            return None
        level = self.after.index(self.first + number) - (len(self.after) - self.arriving)
        return LevelPlace(level, self.field, self.tokens)

    def pack(self, hidden_states: Tensor, levels: Tensor | None) -> Tensor:
        """What the next stage gets: hidden states [L, B, H] alone, or with the levels it needs."""
        if not self.leaving:
            return hidden_states
        return pack_stage(hidden_states, None if levels is None else levels[-self.leaving :])

    def unpack(self, packed: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden states [L, B, H] and levels [K, N, H] from the stage before; metadata are [B, F, S]."""
        batch, _, length = metadata.shape
        return unpack_stage(packed, (length // self.tokens.chunks, batch), self.arriving)
