"""What `projector.hf_module` takes in a spec (torch-free)."""

from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from composer.finding import Finding
from composer.ranges import whole
from composer.registry import Component, Port, Ports


@frozen
class HfModule:
    """A projector class of transformers, found in the modeling file beside its first argument's configuration."""

    class_name: str = field(metadata={"key": "class", "description": "Name of the projector's class."})
    args: tuple[dict[str, Any], ...] = field(metadata={"description": "Configurations the class is made with."})
    in_dim: int = field(metadata={"description": "Width of the features it reads."})
    out_dim: int = field(metadata={"description": "Width of the features it makes."})


def ports(config: HfModule) -> Ports:
    """in: feature rows of the tower; out: as many rows of the decoder's width."""
    return Ports(
        inputs={"in": Port("in", "features", ("feature", config.in_dim), origin=("", "in_dim"))},
        outputs={"out": Port("out", "features", ("feature", config.out_dim), origin=("", "out_dim"))},
    )


def check(config: HfModule) -> Iterator[Finding]:
    """Widths that there are."""
    yield from whole("in_dim", config.in_dim)
    yield from whole("out_dim", config.out_dim)


HF_MODULE = Component(
    name="projector.hf_module",
    role="projector",
    config=HfModule,
    ports=ports,
    implementation="components.projector.hf_module",
    check=check,
)
