"""Test pictures and clips for whatever inputs a spec has.

Patches with their places; pixels with or without their sizes; patches of all items in a row beside their grids.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from composer.edges import PositionEdge, ScatterEdge
from composer.items import item_groups

if TYPE_CHECKING:
    from composer import Graph
    from composer.edges.position import Grids
    from composer.graph import Input

Size = tuple[int, int] | tuple[int, int, int]
"""Height and width of a picture, counted in feature rows; of a clip, frames before them."""


class BatchError(ValueError):
    """No test pictures can be made for the spec's inputs."""


@frozen(eq=False)
class Pictures:
    """Values of the spec's inputs that hold the items of one placeholder token, and where each item begins."""

    values: dict[str, Tensor]
    borders: dict[str, tuple[int, ...]]
    """By input: first entry of each item, and the end of the last."""


def make_pictures(graph: "Graph", token: str, sizes: Sequence[Size], generator: torch.Generator) -> Pictures:
    """One item a picture or clip.

    Args:
        graph: of a tiny size.
        token: name of a placeholder.
        sizes: of the items, in order.
        generator: of the values.

    Raises:
        BatchError: the inputs are of no kind that is known here.
    """
    given = inputs_of(graph, token)
    pixels = [each for each in given if each.type == "pixels"]
    others = {each.type: each.name for each in given if each.type not in ("pixels", "tokens")}
    if len(pixels) == 1:
        (one,) = pixels
        flat = [(size[-2], size[-1]) for size in sizes]
        match len(one.shape), sorted(others):
            case 3, ["positions"]:
                return _by_item(_patches(graph, one.name, others["positions"], flat, generator))
            case 4, [] if all(isinstance(size, int) for size in one.shape[1:]):
                return _by_item({one.name: torch.rand(len(sizes), *map(int, one.shape[1:]), generator=generator)})
            case 4, ["sizes"]:
                return _by_item(_padded(graph, one, others["sizes"], flat, generator))
            case 5, ["sizes"]:
                return _by_item(_tiles(graph, one, others["sizes"], flat, generator))
            case 2 | 4, ["grids"] | ["grids", "seconds"]:
                return _in_grids(graph, token, one, others, sizes, generator)
    raise BatchError(
        f"{graph.name}: test pictures are made for one input of pixels: patches [image, patch, patch_dim] beside "
        "positions [image, patch, 2]; [image, channel, height, width], all but the first numbers; the same of any "
        "height and width, or tiles [image, tile, channel, height, width], beside sizes [image, 2]; or "
        "[patch, patch_dim] or [patch, channel, side, side] beside grids [image, 3]"
    )


def inputs_of(graph: "Graph", token: str) -> list["Input"]:
    """The spec's inputs that hold the items of a placeholder token, in the order of the spec."""
    names: set[str] = set()
    for edge in graph.edges:
        if isinstance(edge, ScatterEdge) and token in edge.at:
            groups = item_groups(graph, edge.source.owner)
            names |= {name for group in groups if edge.of is None or edge.of in group for name in group}
        if isinstance(edge, PositionEdge) and token in edge.grids:
            names |= {name for _, name, _ in edge.grids[token].reads}
    return [given for name, given in graph.inputs.items() if name in names]


def grids_of(graph: "Graph", token: str) -> "Grids | None":
    """How places of a placeholder token are counted; None: like those of text."""
    return next(
        (edge.grids[token] for edge in graph.edges if isinstance(edge, PositionEdge) and token in edge.grids), None
    )


def _by_item(values: dict[str, Tensor]) -> Pictures:
    return Pictures(values, {name: tuple(range(len(value) + 1)) for name, value in values.items()})


def _in_grids(
    graph: "Graph",
    token: str,
    pixels: "Input",
    others: dict[str, str],
    sizes: Sequence[Size],
    generator: torch.Generator,
) -> Pictures:
    """Patches [P, ...] float32 in 0..1 of all items in a row; frames, height and width [items, 3] in patches."""
    rule = grids_of(graph, token)
    side = rule.merge if rule is not None else _unit(graph, pixels.name) or 1
    merged = 1 if rule is None else rule.merge_frames
    counted = [(1, *size) if len(size) == 2 else (size[0] * merged, *size[1:]) for size in sizes]
    grids = torch.tensor([(frames, height * side, width * side) for frames, height, width in counted])
    ends = tuple(accumulate(grids.prod(-1).tolist(), initial=0))
    values = {
        pixels.name: torch.rand(ends[-1], *_patch_shape(graph, pixels), generator=generator),
        others["grids"]: grids,
    }
    if "seconds" in others:
        values[others["seconds"]] = 0.5 + torch.arange(len(sizes)) / 2
    return Pictures(values, {name: ends if name == pixels.name else tuple(range(len(sizes) + 1)) for name in values})


def _patch_shape(graph: "Graph", pixels: "Input") -> tuple[int, ...]:
    """Of one patch: what the spec says, or else channels, frames and side of the tower's patches."""
    if all(isinstance(size, int) for size in pixels.shape[1:]):
        return tuple(map(int, pixels.shape[1:]))
    vision = graph.hf_config["vision_config"]
    shape = (vision.get("in_channels", 3), vision.get("temporal_patch_size", 1), vision["patch_size"])
    channels, frames, side = (each[0] if isinstance(each, list) else each for each in shape)
    return (channels * frames * side**2,) if len(pixels.shape) == 2 else (channels, side, side)


def _patches(
    graph: "Graph", pixels: str, positions: str, sizes: list[tuple[int, int]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Patches [images, P, patch_dim] float32 in 0..1 and their (x, y) [images, P, 2] int64, -1 at padding."""
    vision = graph.hf_config["vision_config"]
    pool = vision.get("pooling_kernel_size", 1)
    grids = [(height * pool, width * pool) for height, width in sizes]
    most = max(height * width for height, width in grids)
    values = torch.rand(len(grids), most, 3 * vision["patch_size"] ** 2, generator=generator)
    places = torch.full((len(grids), most, 2), -1)
    for number, (height, width) in enumerate(grids):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places[number, : height * width] = torch.stack([x.flatten(), y.flatten()], -1)
        values[number, height * width :] = 0
    return {pixels: values, positions: places}


def _padded(
    graph: "Graph", pixels: "Input", named: str, sizes: list[tuple[int, int]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Pixels [images, C, H, W] float32 in 0..1, zeros beyond each picture, and heights and widths [images, 2] int64."""
    unit = _unit(graph, pixels.name)
    channels = pixels.shape[1]
    if unit is None or not isinstance(channels, int):
        raise BatchError(
            f"{graph.name}: {pixels.name} goes to no tower that says how many pixels make a feature row "
            "(item_rows: {sizes_in, patch}), or its channels are no number"
        )
    measured = torch.tensor([(height * unit, width * unit) for height, width in sizes])
    most = measured.amax(0).tolist()
    values = torch.rand(len(sizes), channels, *most, generator=generator)
    for number, (height, width) in enumerate(measured.tolist()):
        values[number, :, height:] = 0
        values[number, :, :, width:] = 0
    return {pixels.name: values, named: measured}


def _tiles(
    graph: "Graph", pixels: "Input", named: str, sizes: Sequence[tuple[int, int]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Tiles [images, most tiles, C, H, W] float32 in 0..1, zeros where there are none, and pictures' sizes [images, 2].

    A tile counts as one of `sizes`; a picture is a pixel lower than that, so that few fill their canvas.
    """
    (rule,) = (getattr(graph.nodes[edge.target.owner].config, "tiles", None) for edge in graph.edges_from(pixels.name))
    if rule is None or not all(isinstance(length, int) for length in pixels.shape[2:]):
        raise BatchError(f"{graph.name}: {pixels.name} goes to no tower that takes tiles, or its tiles have no size")
    side = rule.tiling.tile_px
    measured = [(height * side - 1, width * side) for height, width in sizes]
    counts = [rule.tiling.tiles(*size) for size in measured]
    values = torch.rand(len(sizes), max(counts), *map(int, pixels.shape[2:]), generator=generator)
    for number, count in enumerate(counts):
        values[number, count:] = 0
    return {pixels.name: values, named: torch.tensor(measured)}


def _unit(graph: "Graph", name: str) -> int | None:
    """Side of the square, of pixels or of patches in a grid, that is one feature row behind the projectors."""
    for edge in graph.edges_from(name):
        rows = getattr(graph.nodes[edge.target.owner].config, "item_rows", None)
        if rows is not None and (rows.sizes_in is not None or rows.grids_in is not None):
            side: int = rows.patch * rows.merge
            after = graph.edges_from(edge.target.owner)
            while after and after[0].target.owner != graph.decoder().name:
                side *= getattr(graph.nodes[after[0].target.owner].config, "pool", 1)
                after = graph.edges_from(after[0].target.owner)
            return side
    return None
