"""What one layer of a decoder costs one rank for one micro-batch: work, messages, and what autograd keeps.

A decoder's component gives these (`Component.costs`), so that plans know no component. Sizes are exact integers of the
real shapes on the rank, not fractions.
"""

from typing import Literal, Protocol

from attrs import field, frozen

from composer.plans.layout import Layout

WorkKind = Literal["gemm", "grouped_gemm", "attention", "elementwise"]
Collective = Literal["all_gather", "reduce_scatter", "all_reduce", "all_to_all"]
Group = Literal["tp", "cp", "ep", "etp"]


@frozen
class Work:
    """An operation in the forward pass of one micro-batch.

    flops; bytes: read from and written to memory; launches: kernels started. backward: the gradient of its input costs
    so many times the forward pass. weight_backward: so many times more for the gradient of its own parameters.
    """

    part: str
    kind: WorkKind
    flops: float
    bytes: float
    launches: int = 1
    backward: float = 1.0
    weight_backward: float = 0.0
    model_flops: float | None = None
    slowdown: float = 1.0


@frozen
class Saved:
    """Bytes that autograd keeps from forward to backward, after recomputation has dropped what it drops.

    needs: `upstream`: kept where a gradient flows to the layer's input or to any of its parameters; `weights`: kept
    only where the parameters it belongs to train.
    """

    part: str
    bytes: int
    needs: Literal["upstream", "weights"] = "upstream"


@frozen
class Message:
    """A collective in the forward pass. bytes: of the whole tensor (gathered, reduced or exchanged) on one rank.

    backward: how often it, or its mirror of the same size, runs again in the backward pass; a part of one is smaller.
    """

    part: str
    collective: Collective
    group: Group
    bytes: float
    backward: float = 1


@frozen
class Costs:
    """Of one layer, the embedding or the head. transient: bytes alive at once beyond what is kept, in either pass."""

    work: tuple[Work, ...] = ()
    saved: tuple[Saved, ...] = ()
    messages: tuple[Message, ...] = ()
    transient: int = 0

    @property
    def kept(self) -> int:
        """Bytes kept where everything trains."""
        return sum(saved.bytes for saved in self.saved)


@frozen(cache_hash=True)
class Setting:
    """How a layer runs: what may change its costs, and nothing else, so that equal settings share an answer.

    element: bytes of an activation. pairs: (layer kind, pairs of query and key that one sequence's mask allows), of
    whole sequences. layout: of it, only tp, cp, ep, etp, sequence_parallel and recomputation are read. fused: layer
    kinds whose mask rule Transformer Engine has a kernel for. mask_fields: integers per token that the rules need.
    device: what runs it; torch's attention kernels differ, and so does what they keep. reached: (layer kind, pairs that
    attention computes when it goes block by block of queries), of whole sequences.
    """

    micro_batch: int
    seq: int
    layout: Layout
    implementation: Literal["local", "transformer_engine"]
    element: int
    pairs: tuple[tuple[str, int], ...] = field(default=())
    fused: tuple[str, ...] = field(default=())
    mask_fields: int = 3
    device: Literal["cuda", "cpu"] = "cuda"
    reached: tuple[tuple[str, int], ...] = field(default=())


class Counts(Protocol):
    """What `Costs` holds; each may be counted when it is first asked for."""

    @property
    def work(self) -> tuple[Work, ...]:
        """Operations of the forward pass."""
        ...

    @property
    def saved(self) -> tuple[Saved, ...]:
        """What autograd keeps."""
        ...

    @property
    def messages(self) -> tuple[Message, ...]:
        """Collectives of the forward pass."""
        ...

    @property
    def transient(self) -> int:
        """Bytes alive at once beyond what is kept."""
        ...

    @property
    def kept(self) -> int:
        """Bytes kept where everything trains."""
        ...


class DecoderCosts(Protocol):
    """What a decoder's component answers."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of every layer, first to last."""
        ...

    @property
    def num_experts(self) -> int:
        """0: no experts."""
        ...

    def layer(self, kind: str, setting: Setting) -> Counts:
        """One layer, forward, everything training."""
        ...

    def embedding(self, setting: Setting) -> Counts:
        """Token embeddings, placement of features, masks and rotations made on every stage apart."""
        ...

    def stage(self, setting: Setting) -> Counts:
        """What every stage makes for itself: mask metadata, dense masks, rotations."""
        ...

    def head(self, setting: Setting) -> Counts:
        """Final norm, logits and loss."""
        ...

    def misfits(self, layout: Layout) -> tuple[str, ...]:
        """Why the decoder cannot run in a layout; empty if it can."""
        ...
