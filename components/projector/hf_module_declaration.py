"""What `projector.hf_module` takes in a spec (torch-free)."""

from collections.abc import Iterator
from typing import Any, Literal

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import whole
from composer.registry import Component, Port, Ports
from composer.suggestion import suggestion


@frozen
class PoolFrames:
    """Frames of an item that has several, put into one."""

    grids_in: str = field(metadata={"description": "The one of `inputs` that holds frames, height and width of items."})
    frames: int = field(metadata={"description": "So many frames become one, and a picture stays one."})


@frozen
class HfModule:
    """A projector class of transformers, found in the modeling file beside its first argument's configuration."""

    class_name: str = field(metadata={"key": "class", "description": "Name of the projector's class."})
    args: tuple[dict[str, Any], ...] = field(metadata={"description": "Configurations the class is made with."})
    out_dim: int = field(metadata={"description": "Width of the features it makes."})
    in_dim: int | None = field(
        default=None, metadata={"description": "Width of the features it reads; null: what it is given."}
    )
    inputs: dict[str, tuple[str | int, ...]] = field(
        factory=dict,
        metadata={"description": "Arguments of its forward beside the features, and their named dimensions."},
    )
    pool: int = field(
        default=1, metadata={"description": "pool x pool rows of an item become one; 1: as many rows as it reads."}
    )
    reads: Literal["rows", "squares"] = field(
        default="rows",
        metadata={
            "description": "With pool: the class reads rows alone, or [squares, pool·pool, width], where the rows that "
            "become one already stand together."
        },
    )
    pool_frames: PoolFrames | None = field(
        default=None, metadata={"description": "Rows of several frames become one row too; null: they do not."}
    )
    rows: int | None = field(
        default=None,
        metadata={
            "description": "The class reads [items, rows, width], of items with as many rows each, and makes this many "
            "rows of every item; null: it reads rows alone."
        },
    )


def ports(config: HfModule) -> Ports:
    """in: feature rows of the tower, and what else it reads; out: rows of the decoder's width."""
    width: str | int = "width" if config.in_dim is None else config.in_dim
    rows = "feature" if config.pool == 1 and config.rows is None and config.pool_frames is None else "pooled_feature"
    beside = {
        name: Port(name, "any", shape, origin=tuple(f"inputs.{name}[{i}]" for i in range(len(shape))))
        for name, shape in config.inputs.items()
        if name != "in"
    }
    return Ports(
        inputs={"in": Port("in", "features", ("feature", width), origin=("", "in_dim")), **beside},
        outputs={"out": Port("out", "features", (rows, config.out_dim), origin=("", "out_dim"))},
    )


def check(config: HfModule) -> Iterator[Finding]:
    """Widths that there are."""
    if config.in_dim is not None:
        yield from whole("in_dim", config.in_dim)
    yield from whole("out_dim", config.out_dim)
    yield from whole("pool", config.pool)
    if config.rows is not None:
        yield from whole("rows", config.rows)
        if config.pool != 1:
            yield Finding("pool", "rows says how many rows an item gets ({0}): leave pool out.", ("rows",))
        if config.pool_frames is not None:
            message = "rows says how many rows an item gets ({0}): leave pool_frames out."
            yield Finding("pool_frames", message, ("rows",))
    if config.reads == "squares" and config.pool == 1:
        yield Finding("reads", "squares go with pool, which says how large they are.")
    if (frames := config.pool_frames) is not None:
        yield from whole("pool_frames.frames", frames.frames)
        if frames.grids_in not in config.inputs:
            message = f"there is no input {frames.grids_in!r}.{suggestion(frames.grids_in, config.inputs)}"
            yield Finding("pool_frames.grids_in", message)
    for name, shape in config.inputs.items():
        if name == "in":
            yield Finding("inputs.in", "in is the features themselves. Give the input another name.")
        for position, size in enumerate(shape):
            yield from whole(f"inputs.{name}[{position}]", size)


HF_MODULE = Component(
    name="projector.hf_module",
    role="projector",
    config=HfModule,
    ports=ports,
    implementation="components.projector.hf_module",
    check=check,
)
