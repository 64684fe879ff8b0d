"""What the training loop asks of whoever computes: Megatron-Core, DeepSpeed, or something of your own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from torch import nn

from adapters.training.collator import Batch
from adapters.training.settings import Stage


@frozen
class StepResult:
    """One optimizer step, the same on every rank.

    loss: nats per learned token, mean over the global batch; grad_norm: of all gradients together, before clipping.
    """

    loss: float
    grad_norm: float


class Engine(Protocol):
    """Runs optimizer steps of one composed model in one layout. Every method is called on every rank."""

    data_rank: int
    """Which share of every global batch this rank reads, from 0."""
    data_ranks: int
    sequence_multiple: int
    """Sequences are padded to a multiple of this (sequence and context parallelism)."""
    uniform: bool
    """Whether this rank's micro-batches of a global batch must have one shape (pipeline)."""

    @property
    def model(self) -> nn.Module:
        """The model, or this rank's first pipeline stage of it."""
        ...

    def begin_stage(self, stage: Stage) -> None:
        """Let gradients reach only what the stage trains; a fresh optimizer over exactly those parameters."""

    def step(self, batches: Sequence[Batch], lr: float) -> StepResult:
        """One optimizer step over this rank's micro-batches.

        Args:
            batches: as many on every rank.
            lr: learning rate of this step; multipliers of nodes are applied here.

        Raises:
            NonFiniteError: on every rank, and before any parameter changes.
        """
        ...

    def save(self, folder: Path, progress: dict[str, Any]) -> None:
        """Save model, optimizer and random states with `progress`; may return before the files are complete."""

    def finish_save(self) -> None:
        """Wait until the last save is complete."""

    def load(self, folder: Path) -> dict[str, Any]:
        """Load what `save` wrote, in this or another layout, after `begin_stage`; returns its `progress`."""
        ...

    def export(self, folder: Path) -> None:
        """Write the checkpoint in Hugging Face's form."""
