"""Test pictures for whatever inputs a spec has: patches with their places, or pixels with or without their sizes."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from composer import Graph
    from composer.graph import Input

Sizes = list[tuple[int, int]]
"""Height and width of each picture, counted in feature rows."""


class BatchError(ValueError):
    """No test pictures can be made for the spec's inputs."""


def make_pictures(graph: "Graph", sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
    """Values of the spec's inputs beside the tokens, by name: one item a picture.

    Raises:
        BatchError: the inputs are of no kind that is known here.
    """
    pixels = [given for given in graph.inputs.values() if given.type == "pixels"]
    others = [given for given in graph.inputs.values() if given.type not in ("pixels", "tokens")]
    if len(pixels) == 1 and "image" in graph.tokens:
        (given,) = pixels
        match len(given.shape), [other.type for other in others]:
            case 3, ["positions"]:
                return _patches(graph, given.name, others[0].name, sizes, generator)
            case 4, [] if all(isinstance(size, int) for size in given.shape[1:]):
                return {given.name: torch.rand(len(sizes), *map(int, given.shape[1:]), generator=generator)}
            case 4, ["sizes"]:
                return _padded(graph, given, others[0].name, sizes, generator)
            case 5, ["sizes"]:
                return _tiles(graph, given, others[0].name, sizes, generator)
    raise BatchError(
        f"{graph.name}: test pictures are made for a token named image and one input of pixels: patches [image, patch, "
        "patch_dim] beside positions [image, patch, 2]; [image, channel, height, width], all but the first numbers; "
        "the same of any height and width beside sizes [image, 2]; or tiles [image, tile, channel, height, width] "
        "beside sizes"
    )


def _patches(
    graph: "Graph", pixels: str, positions: str, sizes: Sizes, generator: torch.Generator
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


def _padded(graph: "Graph", pixels: "Input", named: str, sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
    """Pixels [images, C, H, W] float32 in 0..1, zeros beyond each picture, and heights and widths [images, 2] int64."""
    unit = _pixels_a_row(graph, pixels.name)
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


def _tiles(graph: "Graph", pixels: "Input", named: str, sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
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


def _pixels_a_row(graph: "Graph", name: str) -> int | None:
    """Side of the square of pixels that is one feature row behind the projectors."""
    for edge in graph.edges_from(name):
        rows = getattr(graph.nodes[edge.target.owner].config, "item_rows", None)
        if rows is not None and rows.sizes_in is not None:
            side: int = rows.patch
            after = graph.edges_from(edge.target.owner)
            while after and after[0].target.owner != graph.decoder().name:
                side *= getattr(graph.nodes[after[0].target.owner].config, "pool", 1)
                after = graph.edges_from(after[0].target.owner)
            return side
    return None
