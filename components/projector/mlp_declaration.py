"""What `projector.mlp` takes in a spec (torch-free)."""

from collections.abc import Iterator
from typing import Literal

from attrs import field, fields, frozen

from composer.finding import Finding
from composer.ranges import whole
from composer.registry import Component, Port, Ports


@frozen
class Mlp:
    """Linear layers with an activation between each two, fresh from the start."""

    in_dim: int = field(metadata={"description": "Width of the features it reads."})
    out_dim: int = field(metadata={"description": "Width of the features it makes, and between its layers."})
    depth: int = field(default=2, metadata={"description": "Linear layers; 1: no activation."})
    activation: Literal["gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu"] = field(
        default="gelu", metadata={"description": "Between the layers, by transformers' name."}
    )
    bias: bool = field(default=True, metadata={"description": "Whether every layer has a bias."})
    norm: Literal["none", "layer", "rms"] = field(
        default="none", metadata={"description": "Norm of the features it reads."}
    )


def ports(config: Mlp) -> Ports:
    """Features in, as many features of another width out."""
    return Ports(
        inputs={"in": Port("in", "features", ("feature", config.in_dim), origin=("", "in_dim"))},
        outputs={"out": Port("out", "features", ("feature", config.out_dim), origin=("", "out_dim"))},
    )


def check(config: Mlp) -> Iterator[Finding]:
    """Sizes that there are."""
    yield from whole("in_dim", config.in_dim)
    yield from whole("out_dim", config.out_dim)
    yield from whole("depth", config.depth)
    if config.depth == 1 and config.activation != fields(Mlp).activation.default:
        yield Finding("activation", "it has no effect with one linear layer ({0}): it stands between two.", ("depth",))


MLP = Component(
    name="projector.mlp",
    role="projector",
    config=Mlp,
    ports=ports,
    implementation="components.projector.mlp",
    check=check,
)
