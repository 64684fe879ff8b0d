"""The runs under test on two data-parallel ranks, and the batches that all of them train on."""

from typing import Any

import attrs
import torch
from attrs import frozen

from adapters.training.collator import Batch
from adapters.training.settings import OptimizerSettings, Stage, Training
from composer.plans.layout import Zero

RANKS = 2
STEPS = 21  # the first learns nothing, twenty do
SAVED = 17  # steps before the checkpoint
NODES = ("vision_tower", "embed_vision", "language_model")
# After the steps of everything, a few of the projector alone.
STAGES = (Stage("all", steps=STEPS, trains=NODES), Stage("align", steps=3, trains=("embed_vision",)))


@frozen
class Case:
    """One run: ZeRO as in the settings, of a variant of the model, with something broken on purpose."""

    stage: int
    offload: bool = False
    overlap: bool = False
    variant: str = "experts"
    fault: str | None = None

    @property
    def id(self) -> str:
        words = ("offload" * self.offload, "overlap" * self.overlap, "dense" * (self.variant == "dense"), self.fault)
        return "-".join([f"zero{self.stage}", *(word for word in words if word)])


CASES = (
    Case(0),
    Case(1),
    Case(2),
    Case(2, offload=True),
    Case(3),
)
SLOW = (
    Case(1, offload=True),
    Case(2, overlap=True),
    Case(3, overlap=True),
    Case(3, offload=True),
    Case(2, variant="dense"),
)
FAULTS = (
    Case(1, fault="each_rank_by_its_own_tokens"),
    Case(1, fault="micro_batches_averaged"),
    Case(1, fault="spare_item_counts"),
)
# Ranks wait for each other for ever, so it runs last and alone.
HANGS = Case(3, fault="towers_rest")
# Nothing is so small here that it stays whole on every rank, and buckets fill before a backward pass is over.
CHANGES: dict[str, Any] = {
    "zero_optimization": {
        "stage3_param_persistence_threshold": 0,
        "reduce_bucket_size": 20_000,
        "stage3_prefetch_bucket_size": 20_000,
    }
}


def settings(case: Case | None = None) -> Training:
    """Of a run; None: Megatron's."""
    made = Training(
        stages=STAGES,
        micro_batch=1,
        global_batch=4,
        optimizer=OptimizerSettings(weight_decay=0.1, lr_multipliers={"vision_tower": 0.5}),
    )
    if case is None:
        return made
    return attrs.evolve(made, engine="deepspeed", overlap=case.overlap, zero=Zero(case.stage, case.offload))


def lr(step: int) -> float:
    """Nothing is learned in the first step, so that the second has the same gradients whoever computes."""
    return 1e-4 if step else 0.0


def batches(rows: list[dict[str, Any]], step: int, rank: int) -> list[Batch]:
    """A rank's two micro-batches of a step, from four of one row each: three with pictures, the last without any.

    At first nobody has a picture, then the second rank alone; after that the row without pictures wanders.
    """
    order = {0: [3, 3, 3, 3], 1: [3, 3, 0, 1]}.get(step) or [(step + place) % 4 for place in range(4)]
    return [_batch(rows[order[rank * 2 + place]], step) for place in range(2)]


def _batch(row: dict[str, Any], step: int) -> Batch:
    text, counts = row["loss_mask"].bool(), row["images_per_sample"]
    return Batch(
        input_ids=row["input_ids"],
        labels=torch.where(text, 3 + (row["labels"] + step) % 50, -100),
        loss_mask=row["loss_mask"].float(),
        attention_mask=row["attention_mask"],
        pixel_values=row["pixel_values"],
        image_position_ids=row["image_position_ids"],
        images_per_sample=torch.zeros(1, dtype=torch.int64) if counts is None else counts,
    )
