"""Training runs of a few steps under test: layout and settings, what they train on, and the bound on their losses."""

from typing import Any

from attrs import evolve, field, frozen

from adapters.training.collator import Batch
from adapters.training.settings import Layout, OptimizerSettings, Stage, Training

EVERYTHING = ("vision_tower", "embed_vision", "language_model")
# The projector alone first: on the last pipeline rank nothing trains, on the first one hardly anything.
STAGES = (Stage("align", 2, ("embed_vision",)), Stage("all", 3, EVERYTHING))
LR = 1e-4  # the settings' own default
EXACT = 1e-5
ROUNDED = 1e-2
"""Between bf16 runs: sums in another order round to other bf16 numbers, of 8 bits."""


@frozen
class Case:
    """name; variant of the model; data: of `adapters.prove.layouts.batches`; changes: settings other than those of one
    rank; bound: of losses and gradient norms, relative to those of one rank; bucket_size: see the engine.
    """

    name: str
    variant: str
    changes: dict[str, Any] = field(factory=dict)
    data: str = "pictures"
    bound: float = EXACT
    bucket_size: int | None = None

    @property
    def id(self) -> str:
        return f"{self.variant}-{self.name}"

    @property
    def settings(self) -> Training:
        one = Training(stages=STAGES, micro_batch=1, global_batch=4, optimizer=OptimizerSettings(lr=LR, clip=1.0))
        return evolve(one, **self.changes)

    @property
    def alone(self) -> "Case":
        """The same on one rank."""
        precision = self.settings.precision
        return Case(f"alone_{precision}_{self.data}", self.variant, {"precision": precision}, self.data)


SHARED: dict[str, Any] = {"distributed_optimizer": True}
OVERLAP: dict[str, Any] = {"overlap": True}
BF16: dict[str, Any] = {"precision": "bf16"}
HALF = "pictures on some ranks"
CASES = (
    Case("dp2", "experts"),
    Case("dp2_shared", "experts", SHARED),
    Case("dp2_overlap", "experts", OVERLAP, HALF),
    Case("dp2_shared_overlap", "experts", SHARED | OVERLAP, HALF),
    Case("dp2_shared_overlap", "dense", SHARED | OVERLAP, HALF),
    # As with a tower of some billion parameters: many buckets, and one rank without any use for it.
    Case("dp2_overlap_many_buckets", "experts", OVERLAP, HALF, bucket_size=2000),
    Case("dp2_shared_overlap_many_buckets", "dense", SHARED | OVERLAP, HALF, bucket_size=2000),
    Case("dp2_text", "dense", SHARED | OVERLAP, "no pictures"),
    Case("ep2_shared", "experts", SHARED | {"layout": Layout(ep=2)}),
    Case("tp2sp", "experts", {"layout": Layout(tp=2, sequence_parallel=True)}),
    Case("tp2sp_shared_overlap", "experts", SHARED | OVERLAP | {"layout": Layout(tp=2, sequence_parallel=True)}, HALF),
    Case("cp2_shared", "dense", SHARED | {"layout": Layout(cp=2)}),
    Case("pp2", "dense", {"layout": Layout(pp=2)}),
    Case("pp2_shared", "experts", SHARED | {"layout": Layout(pp=2)}),
    Case("pp2vp2_overlap", "dense", OVERLAP | {"layout": Layout(pp=2, virtual_stages=2)}, HALF),
    Case("dp2_bf16", "experts", BF16, bound=ROUNDED),
    Case("dp2_bf16_shared_overlap", "dense", BF16 | SHARED | OVERLAP, bound=ROUNDED),
    Case("pp2_bf16", "dense", BF16 | {"layout": Layout(pp=2)}, bound=ROUNDED),
)


FRESH = {
    "tp2sp": Layout(tp=2, sequence_parallel=True),
    "ep2": Layout(ep=2),
    "ep2tp2sp": Layout(tp=2, ep=2, sequence_parallel=True),
    "pp2": Layout(pp=2),
}
"""Layouts in which a model with experts is made without a checkpoint."""


def as_batch(micro_batch: dict[str, Any]) -> Batch:
    """A micro-batch of a global batch as the loop's collator would give it."""
    return Batch(**micro_batch)
