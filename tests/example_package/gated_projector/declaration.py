"""What `example.gated_projector` takes in a spec. Imports no torch: specs are checked without it."""

from collections.abc import Iterator

from attrs import field, frozen

from composer.finding import Finding
from composer.registry import Component, Port, Ports


@frozen
class GatedProjector:
    """Two linear maps of a feature row: one makes the new row, the sigmoid of the other opens and closes it."""

    in_dim: int = field(metadata={"description": "Width of the rows it reads."})
    out_dim: int = field(metadata={"description": "Width of the rows it makes."})


def ports(config: GatedProjector) -> Ports:
    """Rows in, as many rows out. `origin` is the key that an error about a width points at."""
    return Ports(
        inputs={"in": Port("in", "features", ("feature", config.in_dim), origin=("", "in_dim"))},
        outputs={"out": Port("out", "features", ("feature", config.out_dim), origin=("", "out_dim"))},
    )


def check(config: GatedProjector) -> Iterator[Finding]:
    """What can be wrong with it alone; paths count from the node."""
    for name in ("in_dim", "out_dim"):
        if getattr(config, name) < 1:
            yield Finding(name, f"{getattr(config, name)} is no width.")


GATED = Component(
    name="example.gated_projector",
    role="projector",
    config=GatedProjector,
    ports=ports,
    implementation="gated_projector.module",
    check=check,
)
