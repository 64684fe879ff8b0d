"""The runs under test on two data-parallel ranks, and the batches that all of them train on."""

from typing import Any

import attrs
import torch
from attrs import frozen

from adapters.training.collator import Batch
from adapters.training.layout_settings import Zero
from adapters.training.settings import OptimizerSettings, Stage, Training

STEPS = 20
RANKS = 2
EVERYTHING = ("vision_tower", "embed_vision", "language_model")


@frozen
class Case:
    """One run: ZeRO as in the settings, on a variant of `tests.distributed.graphs`."""

    stage: int
    offload: bool = False
    variant: str = "experts"

    @property
    def id(self) -> str:
        return f"{self.variant}-zero{self.stage}" + ("-offload" if self.offload else "")


CASES = (
    Case(0),
    Case(1),
    Case(2),
    Case(3),
    Case(2, offload=True),
    Case(3, offload=True),
)
# Nothing is so small here that it stays whole on every rank, and buckets are full before a layer's backward is.
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
        stages=(Stage("all", steps=STEPS, trains=EVERYTHING),),
        micro_batch=1,
        global_batch=4,
        optimizer=OptimizerSettings(lr=1e-3, clip=1.0, lr_multipliers={"vision_tower": 0.5}),
    )
    if case is None:
        return made
    return attrs.evolve(made, engine="deepspeed", zero=Zero(stage=case.stage, offload=case.offload))


def batches(rows: list[dict[str, Any]], step: int, rank: int) -> list[Batch]:
    """A rank's two micro-batches of a step, from four of one row each: three with pictures, the last without any.

    Which rank has the one without changes from step to step, and so does what the text says.
    """
    order = [(step + place) % 4 for place in range(4)]
    return [_batch(rows[order[rank * 2 + place]], step) for place in range(2)]


def _batch(row: dict[str, Any], step: int) -> Batch:
    text = row["loss_mask"].bool()
    counts = row["images_per_sample"]
    return Batch(
        input_ids=row["input_ids"],
        labels=torch.where(text, 3 + (row["labels"] + step) % 50, -100),
        loss_mask=row["loss_mask"].float(),
        attention_mask=row["attention_mask"],
        pixel_values=row["pixel_values"],
        image_position_ids=row["image_position_ids"],
        images_per_sample=torch.zeros(1, dtype=torch.int64) if counts is None else counts,
    )
