"""The graph as a flat list of steps: made once per pipeline stage, so that calling the model costs no graph work.

Towers and projectors are in `node_step.py`, levels between layers in `inject_step.py`; here is what edges compute.
Legend: S sequence, L this rank's part of it, B batch, H hidden, N feature rows, F metadata fields, R rotation columns.
"""

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.megatron.call import Call, MissingInputError, rows_of
from components.fusion.embed import embed_tokens
from components.fusion.grid_positions import GridItems, grid_positions
from components.fusion.mask_metadata import MetadataLayout
from components.fusion.rotary import position_ids_of, rotation
from components.fusion.scatter import check_slots, features_at, placeholder_slots, scatter_features
from composer.edges.position import Grids


@frozen(eq=False)
class EmbedStep:
    """Text embeddings from token ids, unless the caller brings them."""

    decoder: str
    replace: tuple[int, ...]
    row: int
    scale: float

    def __call__(self, model: nn.Module, call: Call) -> None:
        if call.inputs_embeds is not None:
            call.embeddings = _own(call.inputs_embeds, call).transpose(0, 1).contiguous()
            return
        if call.input_ids is None:
            raise MissingInputError("neither input_ids nor inputs_embeds was given")
        replace = torch.tensor(self.replace, device=call.device, dtype=torch.int64)
        embedding = getattr(model, self.decoder).embedding
        call.embeddings = embed_tokens(embedding, _own(call.input_ids, call), replace, self.row, self.scale)


@frozen(eq=False)
class ScatterStep:
    """Features into the embeddings at placeholder tokens, after checking that they fit."""

    source: str
    tokens: tuple[int, ...]
    names: tuple[str, ...]
    mode: str
    interrupted: bool = False
    of: str | None = None
    """The input whose items are placed; None: all of the source's."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        found = rows_of(call, self.source, self.source, self.of)
        features = None if found is None else call.values[self.source][found.rows]
        given = call.items_per_sample.get(self.names[0])
        if features is None:
            if given is not None and bool(given.any()):
                raise MissingInputError(
                    f"{self.names[0]}s_per_sample counts items, but there are no {self.names[0]} features"
                )
            return
        if call.input_ids is None:
            raise MissingInputError(f"features of {self.source} cannot be placed without input_ids")
        placeholders = torch.tensor(self.tokens, device=call.device, dtype=torch.int64)
        slots = placeholder_slots(call.input_ids, placeholders)
        assert found is not None
        named = "/".join(self.names)
        check_slots(slots, features.shape[0], found.item_rows, given, named, interrupted=self.interrupted)
        assert call.embeddings is not None
        if call.own is not None:
            features, slots = features_at(features, slots, call.own)
        call.embeddings = scatter_features(call.embeddings, features, slots, self.mode)


@frozen(eq=False)
class UnfilledStep:
    """No placeholder may be left without features: its row would be a meaningless embedding."""

    sources: dict[str, tuple[str | None, str | None, int]]
    """Token name: who fills it (None: nobody), with items of which input (None: of all), and its id."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        if call.input_ids is None:
            return
        unfilled = {
            name: token
            for name, (owner, of, token) in self.sources.items()
            if owner is None or rows_of(call, owner, owner, of) is None
        }
        if not unfilled:
            return
        wanted = torch.tensor(list(unfilled.values()), device=call.device, dtype=torch.int64)
        if not bool(torch.isin(call.input_ids, wanted).any()):
            return
        for name, token in unfilled.items():
            counts = (call.input_ids == token).sum(-1).tolist()
            for sample, count in enumerate(counts):
                if count:
                    raise MissingInputError(f"sample {sample}: {count} {name} placeholders, but no {name} features")


@frozen(eq=False)
class MaskStep:
    """Mask metadata from token ids, padding and document borders; on every stage that attends."""

    layout: MetadataLayout
    rules: str

    def __call__(self, model: nn.Module, call: Call) -> None:
        ids = call.input_ids
        if ids is None:
            if asking := self.layout.asks_tokens:
                raise MissingInputError(
                    f"input_ids are needed beside inputs_embeds, by {' and '.join(asking)} (rules: {self.rules})"
                )
            ids = torch.zeros(call.shape, dtype=torch.int64, device=call.device)
        call.metadata = self.layout.build(
            ids, call.attention_mask, call.cu_seqlens, call.rank_order, call.tokens_of_rank.chunks
        )


@frozen(eq=False)
class PositionStep:
    """Position ids, then the rotation of every layer kind."""

    decoder: str
    offset: int
    dtype: torch.dtype
    grids: tuple[tuple[str, int, Grids], ...] = ()
    """Placeholder tokens by name and id, with the rule of their grids; empty: one position a token."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        positions = call.position_ids
        if positions is None and self.grids:
            positions = self._in_grids(call)
        elif positions is None:
            shape = torch.empty(call.shape, device=call.device)
            positions = position_ids_of(shape, call.cu_seqlens, self.offset)
        elif positions.ndim == 3:
            positions = positions[-3:]  # behind one row for text, in transformers' form of four
        table = getattr(model, self.decoder).rotation_table(call.device)
        call.rotation = rotation(positions if call.own is None else positions[..., call.own], table, self.dtype)

    def _in_grids(self, call: Call) -> Tensor:
        """[3, B, S], on every stage of its own: grids are given to all."""
        if call.input_ids is None:
            raise MissingInputError("positions in grids need input_ids or position_ids, beside inputs_embeds")
        items = [
            GridItems(
                name,
                token,
                rule,
                call.values.get(rule.source),
                None if rule.seconds_in is None else call.values.get(rule.seconds_in),
            )
            for name, token, rule in self.grids
        ]
        return grid_positions(call.input_ids, call.attention_mask, call.cu_seqlens, items, self.offset)


def _own(values: Tensor, call: Call) -> Tensor:
    """This context-parallel rank's positions of [B, S, ...]."""
    return values if call.own is None else values[:, call.own]
