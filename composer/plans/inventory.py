"""Every parameter of a built graph, and what its towers and projectors cost: made once with torch, read without it."""

from functools import cached_property
from typing import Literal

from attrs import field, frozen

Part = Literal["embeddings", "head", "attention", "dense", "experts", "router", "norms", "tower", "projector"]
"""What a parameter belongs to. In towers and projectors only norms are told apart from the rest."""


@frozen
class Parameter:
    """One parameter of the whole model, named as the composed model names it on one rank, experts one by one.

    name: as in `language_model.decoder.layers.3.self_attention.linear_qkv.weight`; layers counted over all pipeline
        stages, experts over all expert-parallel ranks (`….experts.local_experts.7.linear_fc1.weight`).
    shape: of the whole tensor. split: the dimension that tensor-parallel ranks (for experts: ranks that share an
        expert) hold a part of; None: each holds all of it. layer: of the decoder, or None. expert: its number, or None.
    """

    name: str
    node: str
    part: Part
    shape: tuple[int, ...]
    split: int | None = None
    layer: int | None = None
    expert: int | None = None

    @property
    def size(self) -> int:
        """Number of elements of the whole tensor."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@frozen
class Polynomial:
    """constant + linear · r + quadratic · r², where r is the number of feature rows that one item makes."""

    constant: float = 0.0
    linear: float = 0.0
    quadratic: float = 0.0

    def __call__(self, rows: float) -> float:
        """The value at so many rows."""
        return self.constant + self.linear * rows + self.quadratic * rows * rows


@frozen
class EncoderCosts:
    """What a tower or projector costs for one item (an image), forward; found by running it on the meta device.

    gemm, attention: FLOPs. elementwise: bytes that other operations read and write, per byte of element size (times
    `Job.element`: bytes). saved: bytes that autograd keeps where its parameters train, likewise per byte of element
    size; saved_wide: further bytes kept whatever the element size (float32 statistics, indices, masks). The same three
    where it is frozen but something upstream trains: saved_frozen, saved_frozen_wide. launches: kernels of one call,
    whatever the number of items. traced: False where it could not be run, and all is estimated from its parameters.
    reads: the nodes whose output it reads.
    """

    node: str
    gemm: Polynomial
    attention: Polynomial
    elementwise: Polynomial
    saved: Polynomial
    saved_wide: Polynomial
    saved_frozen: Polynomial
    saved_frozen_wide: Polynomial
    launches: int
    traced: bool
    reads: tuple[str, ...] = ()


@frozen
class Inventory:
    """What plans need to know of a model. `graph` is the content hash of the graph it was made from."""

    graph: str
    name: str
    parameters: tuple[Parameter, ...]
    encoders: tuple[EncoderCosts, ...]
    tied: bool = False
    """The output layer is the embedding table; the last pipeline stage holds a copy."""
    problems: tuple[str, ...] = field(default=())
    """What could not be found out, in words."""

    @cached_property
    def total(self) -> int:
        """Number of parameter elements."""
        return sum(parameter.size for parameter in self.parameters)
