"""A tower or projector as a step: which items it gets, how rows are packed on the way, what ranks share.

Legend: N feature rows, K levels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor, nn

from adapters.megatron.call import Call, MissingInputError, output_key
from adapters.megatron.shared_encoding import EncodingRanks
from components.fusion.feature_counts import FeatureCountError
from components.fusion.pack import pack
from composer.edges.pack import Pack
from composer.graph import OUT
from composer.items import Groups


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
