"""What `vision.hf_tower` takes in a spec (torch-free)."""

from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from components.tiling import Tiling
from composer.finding import Finding
from composer.graph import OUT
from composer.ranges import whole
from composer.registry import Component, Port, Ports
from composer.suggestion import suggestion


@frozen
class ItemRows:
    """How many feature rows each item (an image, say) makes, where items differ; counted in one of three inputs."""

    valid_in: str | None = field(
        default=None, metadata={"description": "The input whose patches of nothing but -1 are padding."}
    )
    pool: int = field(
        default=1, metadata={"description": "With valid_in: pool x pool valid patches make one feature row."}
    )
    sizes_in: str | None = field(
        default=None, metadata={"description": "The input that holds height and width of every item, in pixels."}
    )
    patch: int = field(default=1, metadata={"description": "With sizes_in: patch x patch pixels make one feature row."})
    grids_in: str | None = field(
        default=None,
        metadata={
            "description": "The input that holds frames, height and width of every item, in patches; inputs with "
            "another first dimension than its own hold the patches of all items, one after the other."
        },
    )
    merge: int = field(
        default=1, metadata={"description": "With grids_in: merge x merge patches make one feature row."}
    )


@frozen
class HiddenStates:
    """Features from inside a tower."""

    layers: int | tuple[int, ...] = field(
        metadata={
            "description": "The layers whose outputs are the features, side by side if there are several; 0 is what "
            "the first layer reads, -1 the last layer's output, before any norm behind it."
        }
    )

    @property
    def chosen(self) -> tuple[int, ...]:
        """The layers, as a tuple."""
        return (self.layers,) if isinstance(self.layers, int) else self.layers


@frozen
class PictureTiles:
    """Items are tiles: an input [pictures, tiles, ...] padded to the most, of which each picture's own are taken."""

    sizes_in: str = field(
        metadata={"description": "The input that holds height and width of every picture, in pixels, before scaling."}
    )
    tiling: Tiling = field(metadata={"description": "How pictures were cut into tiles."})


@frozen
class Levels:
    """Features of several depths beside `out`, one block of rows for each, as many rows as `out` has."""

    layers: tuple[int, ...] = field(
        metadata={"description": "The tower's layers that the levels come from, numbered as the tower does."}
    )
    output: str | None = field(
        default=None,
        metadata={
            "description": "Field of the tower's output that holds a list of levels, one for each of `layers`; null: "
            "the hidden states of `layers`, numbered as in hidden_states."
        },
    )


@frozen
class HfTower:
    """A vision tower of transformers, made of its configuration."""

    config: dict[str, Any] = field(metadata={"description": "The tower's configuration, as in the checkpoint."})
    inputs: dict[str, tuple[str | int, ...]] = field(
        metadata={"description": "Arguments of the tower's forward and their named dimensions."}
    )
    class_name: str | None = field(
        default=None,
        kw_only=True,
        metadata={
            "key": "class",
            "description": "Its class, in the modeling file beside the configuration; null: the one AutoModel takes.",
        },
    )
    out_dim: int = field(
        metadata={"description": "Width of one feature row; of each layer's part, if several are taken."}
    )
    item_rows: ItemRows | None = field(
        default=None,
        metadata={"description": "Feature rows per item; null: every item makes as many as every other."},
    )
    output: str = field(
        default="last_hidden_state", metadata={"description": "Field of the tower's output that holds the features."}
    )
    hidden_states: HiddenStates | None = field(
        default=None, metadata={"description": "In place of `output`: features from inside the tower."}
    )
    levels: dict[str, Levels] = field(
        factory=dict,
        metadata={"description": "More outputs, by the names of their ports, for inject edges; rows of `out_dim`."},
    )

    tiles: PictureTiles | None = field(
        default=None, metadata={"description": "Where pictures come as tiles: how many tiles each has."}
    )

    @property
    def arguments(self) -> dict[str, tuple[str | int, ...]]:
        """What the tower's forward is given, item by item, and its dimensions."""
        if self.tiles is None:
            return self.inputs
        return {name: (shape[0], *shape[2:]) for name, shape in self.inputs.items() if name != self.tiles.sizes_in}

    @property
    def width(self) -> int:
        """Of one feature row, all chosen layers side by side."""
        return self.out_dim * (1 if self.hidden_states is None else max(len(self.hidden_states.chosen), 1))


def ports(config: HfTower) -> Ports:
    """Inputs as declared, each optional only if what feeds it is; out: one row per feature, all items in a row.

    A port of levels has as many such blocks of rows.
    """
    return Ports(
        inputs={
            name: Port(name, "any", shape, origin=tuple(f"inputs.{name}[{i}]" for i in range(len(shape))))
            for name, shape in config.inputs.items()
        },
        outputs={
            OUT: Port(OUT, "features", ("feature", config.width), origin=("", "out_dim")),
            **{
                name: _level_port(name, levels, config.out_dim) for name, levels in config.levels.items() if name != OUT
            },
        },
    )


def _level_port(name: str, levels: Levels, width: int) -> Port:
    return Port(name, "levels", (len(levels.layers), "feature", width), origin=(f"levels.{name}", "", "out_dim"))


def check(config: HfTower) -> Iterator[Finding]:
    """Sizes that there are, and rows counted in an input that there is."""
    for name, shape in config.inputs.items():
        for position, size in enumerate(shape):
            yield from whole(f"inputs.{name}[{position}]", size)
    yield from whole("out_dim", config.out_dim)
    if config.hidden_states is not None and not config.hidden_states.chosen:
        yield Finding("hidden_states.layers", "no layer is named: there would be no features.")
    if config.hidden_states is not None:
        if config.output != "last_hidden_state":
            yield Finding("output", "hidden_states says what the features are: leave output out.")
        chosen, depth = config.hidden_states.chosen, config.config.get("num_hidden_layers")
        yield from _layers(chosen, depth, "hidden_states.layers")
    for name, levels in config.levels.items():
        yield from _levels(name, levels, config)
    if config.tiles is not None:
        yield from _tiles(config.tiles, config)
    if config.item_rows is not None:
        yield from _item_rows(config.item_rows, config)


def _levels(name: str, levels: Levels, config: HfTower) -> Iterator[Finding]:
    path = f"levels.{name}"
    if name == OUT:
        yield Finding(path, f"{OUT} is the port of the features themselves. Give the levels another name.")
    if not levels.layers:
        yield Finding(f"{path}.layers", "no layer is named: there would be no levels.")
    if levels.output is None:
        yield from _layers(levels.layers, config.config.get("num_hidden_layers"), f"{path}.layers")


def _layers(wanted: tuple[int, ...], depth: object, path: str) -> Iterator[Finding]:
    """Layers that the tower has; hidden state 0 is what goes into the first."""
    if not isinstance(depth, int):
        return
    for layer in wanted:
        if not -depth - 1 <= layer <= depth:
            yield Finding(path, f"there is no layer {layer}: the tower has {depth}.")


_COUNTED_IN = {"valid_in": "pool", "sizes_in": "patch", "grids_in": "merge"}
"""The keys that name an input, and what goes with each."""


def _tiles(tiles: PictureTiles, config: HfTower) -> Iterator[Finding]:
    yield from tiles.tiling.check("tiles.tiling")
    if tiles.sizes_in not in config.inputs:
        near = suggestion(tiles.sizes_in, config.inputs)
        yield Finding("tiles.sizes_in", f"there is no input {tiles.sizes_in!r}.{near}")
    elif len(config.inputs) != 2:
        yield Finding(
            "inputs", "with tiles there are two inputs: the tiles, and the sizes of pictures ({0}).", ("tiles",)
        )
    if config.item_rows is not None:
        yield Finding("item_rows", "goes with items of many sizes; tiles are all of one. Leave it out.")


def _item_rows(rows: ItemRows, config: HfTower) -> Iterator[Finding]:
    given = {key: name for key in _COUNTED_IN if (name := getattr(rows, key)) is not None}
    if len(given) != 1:
        *most, last = given or _COUNTED_IN
        said = f"{', '.join(most)} and {last} are given" if given else f"neither {', '.join(most)} nor {last} is given"
        yield Finding("item_rows", f"{said}: rows are counted in one input.")
    for key, name in given.items():
        if name not in config.inputs:
            yield Finding(f"item_rows.{key}", f"there is no input {name!r}.{suggestion(name, config.inputs)}")
    for key, unit in _COUNTED_IN.items():
        if key not in given and getattr(rows, unit) != 1:
            others = ", ".join(f"with {other}, {_COUNTED_IN[other]}" for other in given)
            hint = f"; {others} says what becomes one row" if given else ""
            yield Finding(f"item_rows.{unit}", f"goes with {key}{hint}.")
        yield from whole(f"item_rows.{unit}", getattr(rows, unit))


HF_TOWER = Component(
    name="vision.hf_tower",
    role="tower",
    config=HfTower,
    ports=ports,
    implementation="components.vision.hf_tower",
    check=check,
)
