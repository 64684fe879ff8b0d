"""What `vision.hf_tower` takes in a spec (torch-free)."""

from typing import Any

from attrs import field, frozen

from composer.registry import Component, Port, Ports


@frozen
class HfTower:
    """A vision tower of transformers, made by `AutoModel.from_config`."""

    config: dict[str, Any] = field(metadata={"description": "The tower's configuration, as in the checkpoint."})
    inputs: dict[str, tuple[str | int, ...]] = field(
        metadata={"description": "Arguments of the tower's forward and their named dimensions."}
    )
    out_dim: int = field(metadata={"description": "Width of one feature row."})
    output: str = field(
        default="last_hidden_state", metadata={"description": "Field of the tower's output that holds the features."}
    )


def ports(config: HfTower) -> Ports:
    """Inputs as declared, each optional only if what feeds it is; out: one row per feature, all items in a row."""
    return Ports(
        inputs={name: Port(name, "any", tuple(shape)) for name, shape in config.inputs.items()},
        outputs={"out": Port("out", "features", ("feature", config.out_dim))},
    )


HF_TOWER = Component(
    name="vision.hf_tower",
    role="tower",
    config=HfTower,
    ports=ports,
    implementation="components.vision.hf_tower",
)
