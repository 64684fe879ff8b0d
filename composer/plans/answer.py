"""What a plan says of one execution: bytes per rank, seconds per step, each by component."""

from attrs import field, fields, frozen

from composer.plans.execution import Execution
from composer.plans.interval import Interval

GIB = 1024**3


@frozen
class Memory:
    """Bytes on one GPU at its fullest moment."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    """Of decoder layers, of all micro-batches in flight."""
    towers: int = 0
    """Of towers and projectors, likewise."""
    masks: int = 0
    logits: int = 0
    transient: int = 0
    """What lives within one layer or operation at the fullest moment."""
    communication: int = 0
    reserve: int = 0
    """CUDA context, libraries, and what the allocator cannot give back."""

    def components(self) -> dict[str, int]:
        """Bytes by component, in the order above."""
        return {each.name: getattr(self, each.name) for each in fields(Memory)}

    @property
    def total(self) -> int:
        """All of it; a search asks so often that the fields are named here."""
        states = self.weights + self.gradients + self.optimizer
        passing = self.activations + self.towers + self.masks + self.logits + self.transient
        return states + passing + self.communication + self.reserve


@frozen
class RankMemory:
    """Memory of the ranks of one pipeline rank; in_flight: micro-batches whose activations are kept at once."""

    pipeline_rank: int
    memory: Memory
    in_flight: tuple[int, ...]
    """For each virtual stage."""


@frozen
class StepTime:
    """Seconds of one optimizer step, on the slowest pipeline rank; they add up to `total`."""

    nodes: dict[str, Interval] = field(factory=dict)
    """Compute of each node of the spec, forward, backward and recomputation; attention not counted."""
    attention: Interval = Interval(0, 0, 0)
    """Scores and values, by the pairs that the kernel computes."""
    tensor_parallel: Interval = Interval(0, 0, 0)
    expert_parallel: Interval = Interval(0, 0, 0)
    context_parallel: Interval = Interval(0, 0, 0)
    pipeline: Interval = Interval(0, 0, 0)
    """Bubble and messages between stages."""
    data_parallel: Interval = Interval(0, 0, 0)
    """What is not hidden behind compute."""
    optimizer: Interval = Interval(0, 0, 0)
    host: Interval = Interval(0, 0, 0)
    """What the GPU waits for kernels to be started."""

    def components(self) -> dict[str, Interval]:
        """Seconds by component; compute by node."""
        own = {each.name: getattr(self, each.name) for each in fields(StepTime) if each.name != "nodes"}
        return {**self.nodes, **own}

    @property
    def total(self) -> Interval:
        """Of the step."""
        return Interval.total(self.components().values())


@frozen
class Estimate:
    """Everything said of one execution."""

    execution: Execution
    memory: tuple[RankMemory, ...]
    time: StepTime
    tokens_per_second: Interval
    """Of the whole job."""
    mfu: Interval
    """Model FLOPs (forward and backward of what trains, no recomputation) over the peak of all GPUs."""

    @property
    def fullest(self) -> RankMemory:
        """The pipeline rank with most memory."""
        return max(self.memory, key=lambda rank: rank.memory.total)
