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
from components.fusion.feature_counts import FeatureCountError
from components.fusion.grid_positions import GridItems, grid_positions
from components.fusion.inject import levels_at
from components.fusion.mask_metadata import MetadataLayout
from components.fusion.pack import pack
from components.fusion.rank_tokens import RankTokens
from components.fusion.rotary import position_ids_of, rotation
from components.fusion.scatter import check_slots, features_at, placeholder_slots, scatter_features
from composer.edges.pack import Pack
from composer.edges.position import Grids
from composer.graph import OUT
from composer.items import Groups

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
    items: dict[str, dict[str, slice]] = field(factory=dict)
    """Node: which of its items are those of an input of the spec; absent inputs are left out."""
    rank_order: Tensor | None = None
    """[S] int64: positions as context-parallel ranks hold them, one rank after another; None: one rank has all."""
    own: Tensor | None = None
    """[L] int64: this rank's positions; None: all."""
    tokens_of_rank: RankTokens = RankTokens()
    """Which tokens this rank has between decoder layers."""
    encoding: EncodingRanks | None = None
    """Ranks that share the items; None: this one encodes all."""
    embeddings: Tensor | None = None
    levels: Tensor | None = None
    """[K, N, H]: features of this rank's tokens to be added between decoder layers; None: none."""
    metadata: Tensor | None = None
    rotation: Tensor | None = None


Step = Callable[[nn.Module, Call], None]


def output_key(node: str, port: str) -> str:
    """The owner of an output's value: the node itself for `out`."""
    return node if port == OUT else f"{node}.{port}"


@frozen
class Beside:
    """Feature rows that stand beside those of another node in one argument of a component."""

    argument: str
    owner: str
    pack: tuple[Pack, ...] = ()


@frozen(eq=False)
class NodeStep:
    """Run a tower or projector; skipped where an optional input it needs is absent."""

    name: str
    section: Any
    implementation: Any
    sources: dict[str, tuple[str, ...]]
    """Argument of the component: owners of the value, whose items follow each other."""
    groups: Groups
    """Inputs of the spec whose items are encoded, together those that are given together."""
    rows_from: str | None
    """The tower upstream whose item counts this node's rows still have; None for a tower."""
    shared: bool
    """Whether every input has the items as its first dimension, so that ranks can encode some items each."""
    width: int = 0
    """Of the rows it makes."""
    packs: Mapping[str, tuple[Pack, ...]] = field(factory=dict)
    """Argument of the component: what is done to the features on their way there."""
    beside: tuple[Beside, ...] = ()
    levels: Mapping[str, tuple[int, int]] = field(factory=dict)
    """More outputs by port: how many levels, and the width of their rows."""

    def __call__(self, model: nn.Module, call: Call) -> None:
        present = self._present(call)
        module: nn.Module = getattr(model, self.name)
        if not present:
            call.values |= {output_key(self.name, port): None for port in (OUT, *self.levels)}
            return
        inputs = self._inputs(call, present)
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
        found = self.implementation.run(module, self.section, **inputs)
        found = {OUT: found} if isinstance(found, Tensor) else found
        call.values |= {output_key(self.name, port): value for port, value in found.items()}
        call.item_rows[self.name] = self._item_rows(inputs, found[OUT].shape[0])

    def _present(self, call: Call) -> list[int]:
        """Numbers of the groups of inputs that the call has, each whole.

        Raises:
            MissingInputError: a part of a group is there.
        """
        present = []
        for number in range(max(map(len, self.sources.values()))):
            owners = [owners[min(number, len(owners) - 1)] for owners in self.sources.values()]
            given = [owner for owner in owners if self._given(call, owner, number)]
            absent = [owner for owner in owners if owner not in given]
            if given and absent:
                raise MissingInputError(f"{self.name} got {', '.join(given)} but not {', '.join(absent)}")
            if given:
                present.append(number)
        return present

    def _given(self, call: Call, owner: str, number: int) -> bool:
        """Whether a value is there; of a node, whether it holds items of this group."""
        if call.values.get(owner) is None:
            return False
        of_node = call.items.get(owner)
        several = max(map(len, self.sources.values())) > 1
        return of_node is None or not several or any(name in of_node for name in self.groups[number])

    def _inputs(self, call: Call, present: list[int]) -> dict[str, Any]:
        """Arguments of the component, items of all groups one after the other; notes whose items are where."""
        parts = {
            argument: [call.values[owners[number]] for number in present]
            if len(owners) > 1
            else [call.values[owner] for owner in owners]
            for argument, owners in self.sources.items()
        }
        if self.rows_from is None:
            first = 0
            call.items[self.name] = {}
            for index, number in enumerate(present):
                count = self._num_items({argument: values[index] for argument, values in parts.items()})
                call.items[self.name] |= dict.fromkeys(self.groups[number], slice(first, first + count))
                first += count
        else:
            call.items[self.name] = call.items[self.rows_from]
        return {argument: values[0] if len(values) == 1 else torch.cat(values) for argument, values in parts.items()}

    def _num_items(self, inputs: Mapping[str, Any]) -> int:
        counted = getattr(self.implementation, "num_items", None)
        return next(iter(inputs.values())).shape[0] if counted is None else counted(self.section, **inputs)

    def _pack(self, call: Call, inputs: dict[str, Any], rows_from: str) -> Tensor:
        """Pack features in place, and say how many rows of each item the node will read: [items] int64."""
        rows = call.item_rows[rows_from]
        for argument, operations in self.packs.items():
            (owner,) = self.sources[argument]
            inputs[argument], packed = pack(inputs[argument], call.item_rows[owner], operations)
            rows = packed if owner == rows_from else rows
        for other in self.beside:
            self._put_beside(call, inputs, other, rows)
        return rows

    def _put_beside(self, call: Call, inputs: dict[str, Any], other: Beside, rows: Tensor) -> None:
        """Widen an argument by another node's features, of as many rows for every item."""
        features = call.values.get(other.owner)
        if features is None:
            raise MissingInputError(f"{self.name} got {self.rows_from} but not {other.owner}")
        features, packed = pack(features, call.item_rows[other.owner], other.pack)
        if not torch.equal(rows, packed):
            raise FeatureCountError(
                f"{self.name}: items have {rows.tolist()} rows of {self.rows_from} and {packed.tolist()} of "
                f"{other.owner}, which are to stand side by side"
            )
        inputs[other.argument] = torch.cat([inputs[other.argument], features], dim=-1)

    def _item_rows(self, inputs: Mapping[str, Any], rows: int) -> Tensor:
        found: Tensor = self.implementation.item_rows(self.section, rows, **inputs)
        return found

    def _encode_share(self, module: nn.Module, call: Call, ranks: EncodingRanks, inputs: Mapping[str, Any]) -> None:
        items = self._num_items(inputs)
        own = ranks.own_items(items)
        if own.start < own.stop:
            share = self._own_items(own, inputs)
            rows_made = self._side_by_side(self.implementation.run(module, self.section, **share))
        else:
            dtype = next(module.parameters()).dtype
            width = self.width + sum(count * width for count, width in self.levels.values())
            # As differentiable as those of the other ranks: they exchange gradients in the backward pass.
            rows_made = torch.zeros(0, width, dtype=dtype, device=call.device, requires_grad=_trains(module))
        # Asked of all items, whatever this rank has encoded of them; the number of rows only counts where it does not
        # depend on the item.
        own_rows = rows_made.shape[0] // max(own.stop - own.start, 1)
        rows = 0 if self.implementation.knows_item_rows(self.section) else ranks.most_rows(own_rows, call.device)
        call.item_rows[self.name] = self._item_rows(inputs, rows * items)
        gathered = ranks.gather(rows_made, ranks.rows_of_ranks(call.item_rows[self.name].tolist()))
        call.values |= self._apart(gathered)

    def _own_items(self, own: slice, inputs: Mapping[str, Any]) -> dict[str, Any]:
        cut = getattr(self.implementation, "own_items", None)
        if cut is None:
            return {argument: value[own] for argument, value in inputs.items()}
        found: dict[str, Any] = cut(self.section, own, **inputs)
        return found

    def _side_by_side(self, found: Tensor | dict[str, Tensor]) -> Tensor:
        """[N, width of all outputs]: ranks exchange one tensor."""
        if isinstance(found, Tensor):
            return found
        return torch.cat([found[OUT], *(found[port].transpose(0, 1).flatten(1) for port in self.levels)], dim=-1)

    def _apart(self, rows: Tensor) -> dict[str, Tensor]:
        """What `_side_by_side` put together, by owner."""
        widths = [self.width, *(count * width for count, width in self.levels.values())]
        features, *others = rows.split(widths, dim=-1)
        levels = {
            output_key(self.name, port): part.unflatten(-1, shape).transpose(0, 1)
            for (port, shape), part in zip(self.levels.items(), others, strict=True)
        }
        return {self.name: features} | levels


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


@frozen(eq=False)
class Rows:
    """Rows of some items among all that a node makes."""

    rows: slice
    item_rows: Tensor
    """[items] int64."""


def rows_of(call: Call, node: str, owner: str, of: str | None) -> Rows | None:
    """Which rows of a node's value are those of one input's items; None where the call has none of them.

    Args:
        call: after the node has run.
        node: that makes the rows.
        owner: of the value.
        of: an input of the spec; None: all rows.
    """
    if call.values.get(owner) is None:
        return None
    rows = call.item_rows[node]
    if of is None:
        return Rows(slice(None), rows)
    items = call.items[node].get(of)
    if items is None:
        return None
    first, own = int(rows[: items.start].sum()), rows[items]
    return Rows(slice(first, first + int(own.sum())), own)


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
class Injected:
    """One block of rows that is added between decoder layers."""

    source: str
    """Owner of the levels."""
    placed: str
    """Node whose features fill the same placeholders."""
    tokens: tuple[int, ...]
    names: tuple[str, ...]
    node: str
    """That makes the levels."""
    of: str | None = None
    """The input whose items they are; None: all of the node's."""
    placed_of: str | None = None
    """The same of the features."""


@frozen(eq=False)
class InjectStep:
    """Levels of features for the decoder: the rows of this rank's tokens, all blocks one after the other."""

    blocks: tuple[Injected, ...]

    def __call__(self, model: nn.Module, call: Call) -> None:
        del model
        found = [(block, rows_of(call, block.node, block.source, block.of)) for block in self.blocks]
        given = [(block, call.values[block.source][:, rows.rows]) for block, rows in found if rows is not None]
        if not given:
            return
        parts = []
        for block, levels in given:
            placed = rows_of(call, block.placed, block.placed, block.placed_of)
            rows = "none" if placed is None else int(placed.item_rows.sum())
            if rows != levels.shape[1]:
                raise FeatureCountError(
                    f"{block.source} has {levels.shape[1]} rows at placeholders that {block.placed} has {rows} for"
                )
            parts.append(self._own(block, levels, call))
        call.levels = torch.cat(parts, dim=1)

    def _own(self, block: Injected, levels: Tensor, call: Call) -> Tensor:
        share = call.tokens_of_rank
        if share.chunks == 1:
            return levels
        assert call.input_ids is not None
        slots = placeholder_slots(call.input_ids, torch.tensor(block.tokens, device=call.device))
        order = torch.arange(call.shape[1], device=call.device) if call.rank_order is None else call.rank_order
        return levels_at(share.complete_gradient(levels), slots, share.own(order))


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
            if self.layout.needs_tokens:
                raise MissingInputError(f"the mask rules ({self.rules}) need input_ids, beside inputs_embeds")
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


def implementation(component: Any) -> Any:
    """The torch module behind a declared component."""
    return importlib.import_module(component.implementation)
