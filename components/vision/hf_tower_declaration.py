"""What `vision.hf_tower` takes in a spec (torch-free)."""

from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import whole
from composer.registry import Component, Port, Ports
from composer.suggestion import suggestion


@frozen
class ItemRows:
    """How many feature rows each item (an image, say) makes, where items differ."""

    valid_in: str = field(metadata={"description": "The input whose patches of nothing but -1 are padding."})
    pool: int = field(default=1, metadata={"description": "pool x pool valid patches make one feature row."})


@frozen
class HfTower:
    """A vision tower of transformers, made by `AutoModel.from_config`."""

    config: dict[str, Any] = field(metadata={"description": "The tower's configuration, as in the checkpoint."})
    inputs: dict[str, tuple[str | int, ...]] = field(
        metadata={"description": "Arguments of the tower's forward and their named dimensions."}
    )
    out_dim: int = field(metadata={"description": "Width of one feature row."})
    item_rows: ItemRows | None = field(
        default=None,
        metadata={"description": "Feature rows per item; null: every item makes as many as every other."},
    )
    output: str = field(
        default="last_hidden_state", metadata={"description": "Field of the tower's output that holds the features."}
    )


def ports(config: HfTower) -> Ports:
    """Inputs as declared, each optional only if what feeds it is; out: one row per feature, all items in a row."""
    return Ports(
        inputs={
            name: Port(name, "any", shape, origin=tuple(f"inputs.{name}[{i}]" for i in range(len(shape))))
            for name, shape in config.inputs.items()
        },
        outputs={"out": Port("out", "features", ("feature", config.out_dim), origin=("", "out_dim"))},
    )


def check(config: HfTower) -> Iterator[Finding]:
    """Sizes that there are, and rows counted in an input that there is."""
    for name, shape in config.inputs.items():
        for position, size in enumerate(shape):
            yield from whole(f"inputs.{name}[{position}]", size)
    yield from whole("out_dim", config.out_dim)
    if rows := config.item_rows:
        if rows.valid_in not in config.inputs:
            message = f"there is no input {rows.valid_in!r}.{suggestion(rows.valid_in, config.inputs)}"
            yield Finding("item_rows.valid_in", message)
        yield from whole("item_rows.pool", rows.pool)


HF_TOWER = Component(
    name="vision.hf_tower",
    role="tower",
    config=HfTower,
    ports=ports,
    implementation="components.vision.hf_tower",
    check=check,
)
