"""What `projector.tiles` takes in a spec (torch-free)."""

from collections.abc import Iterator

from attrs import field, frozen

from components.tiling import Tiling
from composer.finding import Finding
from composer.ranges import whole
from composer.registry import Component, Port, Ports


@frozen
class Tiles:
    """Puts the tiles of a picture together: the base tile's rows, then those of the whole grid, line by line."""

    tiling: Tiling = field(metadata={"description": "How pictures were cut into tiles."})
    out_dim: int = field(metadata={"description": "Width of the features it reads and makes."})
    newline: bool = field(
        default=True, metadata={"description": "A learned row, `image_newline`, ends every line of the grid."}
    )


def ports(config: Tiles) -> Ports:
    """in: feature rows of tiles; sizes: of the pictures, before they were scaled; out: rows of pictures."""
    width = config.out_dim
    return Ports(
        inputs={
            "in": Port("in", "features", ("feature", width), origin=("", "out_dim")),
            "sizes": Port("sizes", "sizes", ("image", 2)),
        },
        outputs={"out": Port("out", "features", ("picture_feature", width), origin=("", "out_dim"))},
    )


def check(config: Tiles) -> Iterator[Finding]:
    """A width that there is, and canvases that tiles fill."""
    yield from whole("out_dim", config.out_dim)
    yield from config.tiling.check("tiling")


def tensors(config: Tiles) -> tuple[str, ...]:
    """The row that ends a line, which belongs to the whole model in transformers."""
    return ("image_newline",) if config.newline else ()


TILES = Component(
    name="projector.tiles",
    role="projector",
    config=Tiles,
    ports=ports,
    implementation="components.projector.tiles",
    check=check,
    tensors=tensors,
)
