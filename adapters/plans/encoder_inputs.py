"""Inputs for towers and projectors on the meta device: items that fill their rows, as many rows as asked for.

Legend: I items, R feature rows of one item, P patches of one item, D width of a patch, C width of a feature row.
Inputs with grids hold the patches of all items in a row.
"""

import math
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from adapters.plans.known_values import KnownValues
from components.vision.initialisation import maybe_input_projection
from composer.edges import DataEdge
from composer.graph import IN, OUT, Graph


class EncoderInputsError(ValueError):
    """It is not known what a tower is to be given; says what is missing."""


@frozen
class ItemSize:
    """Pooled patches of one item, as a square: what a tower of variable items makes of it is side² rows."""

    side: int

    @property
    def rows(self) -> int:
        """R."""
        return self.side * self.side


def encoder_inputs(
    graph: Graph, node: str, module: nn.Module, known: KnownValues, size: ItemSize, items: int
) -> dict[str, Tensor]:
    """What `run` of a tower's or projector's component takes.

    Returns:
        By argument: pixels float32 [I, P, D], [I * P, D] beside grids, or as the spec says; positions int64 [I, P, 2]
        and grids int64 [I, 3], with values; features [I * R, C] in the type of the module's parameters, `item_rows`.
        Where a projector puts tiles together, an item is a picture on the first canvas, and R the rows of each of its
        tiles.

    Raises:
        EncoderInputsError: the spec leaves a size open that the tower does not tell.
    """
    if graph.component(node).role == "projector":
        return _projector_inputs(graph, node, module, size, items)
    section = graph.nodes[node].config
    kinds = {(edge.target.port or "in"): graph.inputs[edge.source.owner].type for edge in graph.edges_to(node)}
    return {
        name: _tower_input(section, module, name, kinds.get(name, "any"), known, size, items)
        for name in section.arguments
    }


def _projector_inputs(graph: Graph, node: str, module: nn.Module, size: ItemSize, items: int) -> dict[str, Tensor]:
    tiling = getattr(graph.nodes[node].config, "tiling", None)
    beside = {}
    if tiling is not None:
        beside["sizes"] = torch.tensor([tiling.canvases[0]] * items)
        items *= tiling.tiles(*tiling.canvases[0])
    dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
    features = torch.empty(items * size.rows, _width_read(graph, node), dtype=dtype, device="meta")
    return {"in": features, "item_rows": torch.full((items,), size.rows), **beside}


def _width_read(graph: Graph, node: str) -> int:
    """Of what a projector reads, where its section says it, or where it comes from."""
    said: int | None = getattr(graph.nodes[node].config, "in_dim", None)
    if said is not None:
        return said
    edge = next(edge for edge in graph.edges_to(node, IN) if isinstance(edge, DataEdge))
    width = graph.ports(edge.source.owner).outputs[edge.source.port or OUT].shape[-1]
    if not isinstance(width, int):
        raise EncoderInputsError(f"the width of what {node} reads is {width!r}: set its in_dim")
    return width * math.prod(operation.width_factor for operation in edge.pack)


def _tower_input(
    section: Any, module: nn.Module, name: str, kind: str, known: KnownValues, size: ItemSize, items: int
) -> Tensor:
    shape = section.arguments[name]
    if kind == "positions" and section.item_rows is not None and name == section.item_rows.valid_in and shape[-1] == 2:
        return known.give(_places(size.side * section.item_rows.pool).expand(items, -1, -1).contiguous())
    grids, merge = _grids(section)
    if name == grids:
        side = size.side * merge
        return known.give(torch.tensor([[1, side, side]]).repeat(items, 1))
    if kind == "pixels" and grids is not None:
        patches = items * size.rows * merge**2
        return torch.empty(patches, *_patch(module, name, shape), dtype=torch.float32, device="meta")
    if kind in ("pixels", "features"):
        sizes = [items if place == 0 else _size(section, module, name, place, size) for place in range(len(shape))]
        return torch.empty(sizes, dtype=torch.float32, device="meta")
    raise EncoderInputsError(f"{name} is neither pixels nor what item_rows counts rows in")


def _grids(section: Any) -> tuple[str | None, int]:
    """The input of grids, if there is one, and the side of the square of patches that makes a row."""
    rows = section.item_rows
    return (None, 1) if rows is None else (rows.grids_in, rows.merge)


def _patch(module: nn.Module, name: str, shape: tuple[str | int, ...]) -> tuple[int, ...]:
    """Of one patch: as the spec says, or as the tower's first projection takes."""
    known = tuple(size for size in shape[1:] if isinstance(size, int))
    if len(known) == len(shape) - 1:
        return known
    projection = maybe_input_projection(module)
    if isinstance(projection, nn.Linear) and len(shape) == 2:
        return (projection.in_features,)
    if isinstance(projection, nn.Conv2d | nn.Conv3d):
        sizes = (projection.in_channels, *projection.kernel_size)
        return (math.prod(sizes),) if len(shape) == 2 else sizes
    raise EncoderInputsError(f"the spec gives {name} no size for {shape[1:]}, and the tower does not tell it")


def _places(side: int) -> Tensor:
    """[side², 2] int64: column and row of each patch of a square."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([column.flatten(), row.flatten()], -1)


def _size(section: Any, module: nn.Module, name: str, place: int, size: ItemSize) -> int:
    """Of one dimension of pixels: as the spec says, as the rows ask for, or as the tower's first projection takes."""
    shape, rows = section.arguments[name], section.item_rows
    if isinstance(shape[place], int):
        return shape[place]
    if rows is not None and place == 1 and shape[1] == section.inputs[rows.valid_in][1]:
        return size.rows * rows.pool**2
    projection = maybe_input_projection(module)
    if isinstance(projection, nn.Linear) and place == len(shape) - 1:
        return projection.in_features
    if isinstance(projection, nn.Conv2d) and len(shape) == 4:
        side = section.config.get("image_size")
        if place == 1:
            return projection.in_channels
        if isinstance(side, int):
            return side
    raise EncoderInputsError(f"the spec gives {name} no size for {shape[place]!r}, and the tower does not tell it")
