"""The graph as a flat list of steps: made once per pipeline stage, so that calling the model costs no graph work.

A step reads and writes a `Call`, the values of one forward. Legend: S sequence, L this rank's part of it, B batch, H
hidden, N feature rows, F metadata fields, R rotation columns.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from adapters.megatron.shared_encoding import EncodingRanks
from components.fusion.embed import embed_tokens
from components.fusion.mask_metadata import MetadataLayout
from components.fusion.pack import pack
from components.fusion.rotary import position_ids_of, rotation
from components.fusion.scatter import check_slots, features_at, placeholder_slots, scatter_features
from composer.edges.pack import Pack

IN = "in"


class MissingInputError(ValueError):
    """The model was called without something that an edge needs; names it and who needs it."""


@define(eq=False)
class Call:
    """The values of one forward, by owner: inputs of the spec and outputs of nodes; None where absent."""

    values: dict[str, Any]
    input_ids: Tensor | None
    shape: tuple[int, int]
    device: torch.device
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None
    inputs_embeds: Tensor | None = None
    items_per_sample: dict[str, Tensor | None] = field(factory=dict)
    cu_seqlens: Tensor | None = None
    item_rows: dict[str, Tensor] = field(factory=dict)
    rank_order: Tensor | None = None
    """[S] int64: positions as context-parallel ranks hold them, one rank after another; None: one rank has all."""
    own: Tensor | None = None
    """[L] int64: this rank's positions; None: all."""
    encoding: EncodingRanks | None = None
    """Ranks that share the items; None: this one encodes all."""
    embeddings: Tensor | None = None
    metadata: Tensor | None = None
    rotation: Tensor | None = None


Step = Callable[[nn.Module, Call], None]


@frozen(eq=False)
class NodeStep:
    """Run a tower or projector; skipped where an optional input it needs is absent."""

    name: str
    section: Any
    implementation: Any
    sources: dict[str, str]
    """Argument of the component: owner of the value."""
    rows_from: str | None
    """The tower upstream whose item counts this node's rows still have; None for a tower."""
    shared: bool
    """Whether every input has the items as its first dimension, so that ranks can encode some items each."""
    width: int = 0
    """Of the rows it makes."""
    packs: Mapping[str, tuple[Pack, ...]] = field(factory=dict)
    """Argument of the component: what is done to the features on their way there."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        inputs: dict[str, Any] = {argument: call.values.get(owner) for argument, owner in self.sources.items()}
        given = [owner for argument, owner in self.sources.items() if inputs[argument] is not None]
        module: nn.Module = getattr(model, self.name)
        if not given:
            call.values[self.name] = None
            return
        if absent := [owner for argument, owner in self.sources.items() if inputs[argument] is None]:
            raise MissingInputError(f"{self.name} got {', '.join(given)} but not {', '.join(absent)}")
        if (items := getattr(self.implementation, "items", None)) is not None:
            inputs = items(self.section, **inputs)
        if self.shared and call.encoding is not None:
            self._encode_share(module, call, call.encoding, inputs)
            return
        if self.rows_from is not None:
            rows = self._pack(call, inputs, self.rows_from)
            call.values[self.name] = self.implementation.run(module, self.section, item_rows=rows, **inputs)
            rows_after = getattr(self.implementation, "rows_after", None)
            call.item_rows[self.name] = rows if rows_after is None else rows_after(self.section, rows, **inputs)
            return
        features = self.implementation.run(module, self.section, **inputs)
        call.values[self.name] = features
        call.item_rows[self.name] = self._item_rows(inputs, features.shape[0])

    def _pack(self, call: Call, inputs: dict[str, Any], rows_from: str) -> Tensor:
        """Pack features in place, and say how many rows of each item the node will read: [items] int64."""
        rows = call.item_rows[rows_from]
        for argument, operations in self.packs.items():
            owner = self.sources[argument]
            inputs[argument], packed = pack(inputs[argument], call.item_rows[owner], operations)
            rows = packed if owner == rows_from else rows
        return rows

    def _item_rows(self, inputs: Mapping[str, Any], rows: int) -> Tensor:
        found: Tensor = self.implementation.item_rows(self.section, rows, **inputs)
        return found

    def _encode_share(self, module: nn.Module, call: Call, ranks: EncodingRanks, inputs: Mapping[str, Any]) -> None:
        items = next(iter(inputs.values())).shape[0]
        own = ranks.own_items(items)
        if own.start < own.stop:
            share = {argument: value[own] for argument, value in inputs.items()}
            features = self.implementation.run(module, self.section, **share)
        else:
            dtype = next(module.parameters()).dtype
            # As differentiable as those of the other ranks: they exchange gradients in the backward pass.
            features = torch.zeros(0, self.width, dtype=dtype, device=call.device, requires_grad=_trains(module))
        # Asked of all items, whatever this rank has encoded of them; the number of rows only counts where it does not
        # depend on the item.
        own_rows = features.shape[0] // max(own.stop - own.start, 1)
        rows = 0 if self.implementation.knows_item_rows(self.section) else ranks.most_rows(own_rows, call.device)
        call.item_rows[self.name] = self._item_rows(inputs, rows * items)
        call.values[self.name] = ranks.gather(features, ranks.rows_of_ranks(call.item_rows[self.name].tolist()))


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


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

    def __call__(self, model: nn.Module, call: Call) -> None:
        features = call.values.get(self.source)
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
        rows, named = call.item_rows[self.source], "/".join(self.names)
        check_slots(slots, features.shape[0], rows, given, named, interrupted=self.interrupted)
        assert call.embeddings is not None
        if call.own is not None:
            features, slots = features_at(features, slots, call.own)
        call.embeddings = scatter_features(call.embeddings, features, slots, self.mode)


@frozen(eq=False)
class UnfilledStep:
    """No placeholder may be left without features: its row would be a meaningless embedding."""

    sources: dict[str, tuple[str | None, int]]
    """Token name: who fills it (None: nobody) and its id."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        if call.input_ids is None:
            return
        unfilled = {
            name: token
            for name, (owner, token) in self.sources.items()
            if owner is None or call.values.get(owner) is None
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
            if self.layout.needs_tokens:
                raise MissingInputError(f"the mask rules ({self.rules}) need input_ids, beside inputs_embeds")
            ids = torch.zeros(call.shape, dtype=torch.int64, device=call.device)
        metadata = self.layout.build(ids, call.attention_mask, call.cu_seqlens)
        # Made of whole sequences: a stretch of placeholders may begin on another rank.
        call.metadata = metadata if call.rank_order is None else metadata[:, :, call.rank_order]


@frozen(eq=False)
class PositionStep:
    """Position ids, then the rotation of every layer kind."""

    decoder: str
    offset: int
    dtype: torch.dtype

    def __call__(self, model: nn.Module, call: Call) -> None:
        positions = call.position_ids
        if positions is None:
            shape = torch.empty(call.shape, device=call.device)
            positions = position_ids_of(shape, call.cu_seqlens, self.offset)
        table = getattr(model, self.decoder).rotation_table(call.device)
        call.rotation = rotation(_own(positions, call), table, self.dtype)


def _own(values: Tensor, call: Call) -> Tensor:
    """This context-parallel rank's positions of [B, S, ...]."""
    return values if call.own is None else values[:, call.own]


def implementation(component: Any) -> Any:
    """The torch module behind a declared component."""
    return importlib.import_module(component.implementation)
