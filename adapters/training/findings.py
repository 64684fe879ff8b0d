"""Contradictions in training settings, found without graph or data."""

from typing import Any

from adapters.deepspeed.config import zero_findings
from adapters.training.settings import Training
from composer.plans.layout import layout_findings

COLOURS = 3


def findings(settings: Training) -> list[tuple[str, str]]:
    """Everything wrong with the values alone: (path, message) each."""
    found: list[tuple[str, str]] = []
    positive: dict[str, Any] = {
        "micro_batch": settings.micro_batch,
        "global_batch": settings.global_batch,
        "max_length": settings.max_length,
        "print_every": settings.print_every,
        "pictures.max_features": settings.pictures.max_features,
        "checkpoints.keep": settings.checkpoints.keep,
        **{f"stages[{index}].steps": stage.steps for index, stage in enumerate(settings.stages)},
    }
    found += [(path, f"{value} is not positive.") for path, value in positive.items() if value <= 0]
    for name in ("mean", "std"):
        if len(getattr(settings.pictures, name)) != COLOURS:
            found.append((f"pictures.{name}", "three numbers are expected: red, green, blue."))
    if any(each <= 0 for each in settings.pictures.std):
        found.append(("pictures.std", "is not positive: pictures are divided by it."))
    if not settings.stages:
        found.append(("stages", "no stage: nothing would train."))
    if settings.micro_batch > 0 and settings.global_batch % settings.micro_batch:
        found.append(("global_batch", f"{settings.global_batch} is no multiple of micro_batch {settings.micro_batch}."))
    if settings.optimizer.lr <= 0:
        found.append(("optimizer.lr", f"{settings.optimizer.lr} is not positive."))
    placeholders = {"chat.user": "{text}", "chat.system": "{text}", "chat.image": "{placeholders}"}
    for path, needed in placeholders.items():
        if getattr(settings.chat, path.removeprefix("chat.")).count(needed) != 1:
            found.append((path, f"must hold {needed} exactly once."))
    return found + layout_findings(settings.layout) + _engine_findings(settings)


def _engine_findings(settings: Training) -> list[tuple[str, str]]:
    found = []
    if settings.checkpoints.every < 0:
        found.append(("checkpoints.every", f"{settings.checkpoints.every} is negative; 0 saves none."))
    for node, factor in settings.optimizer.lr_multipliers.items():
        if factor < 0:
            found.append((f"optimizer.lr_multipliers.{node}", f"{factor} is negative."))
    if settings.engine == "deepspeed" and settings.distributed_optimizer:
        found.append(("distributed_optimizer", "is Megatron-Core's; with `engine: deepspeed` set zero.stage to 1."))
    if settings.engine == "deepspeed":
        found += zero_findings(settings)
    if settings.engine == "megatron":
        if settings.zero.stage:
            found.append(("zero.stage", "is DeepSpeed's: set `engine: deepspeed`, or use distributed_optimizer."))
        if settings.zero.offload:
            found.append(("zero.offload", "is DeepSpeed's: set `engine: deepspeed`."))
    return found
