"""Optimizer steps: gradients over micro-batches, clipped, applied; one stage after the other."""

import math
import time
from collections.abc import Iterator, Sequence

import torch
from attrs import define
from rich.console import Console
from torch import nn

from adapters.training.collator import Batch, Collator
from adapters.training.log import RunLog, StepRecord
from adapters.training.memory import peak_memory_gib
from adapters.training.problems import TrainingError
from adapters.training.progress import StageProgress
from adapters.training.samples import Sample
from adapters.training.schedule import Schedule
from adapters.training.settings import Stage, Training
from adapters.training.stages import freeze_all_but, make_optimizer
from composer import Graph


@define
class Trainer:
    """Trains a composed model in place. `step` counts optimizer steps over all stages, `began` is monotonic time."""

    model: nn.Module
    graph: Graph
    collator: Collator
    settings: Training
    groups: Iterator[Sequence[Sample]]
    log: RunLog
    console: Console
    step: int = 0
    began: float = 0.0

    def run(self) -> list[StepRecord]:
        """All stages. Returns every step's record."""
        self.began = time.monotonic()
        self.model.train()
        return [record for stage in self.settings.stages for record in self.run_stage(stage)]

    def run_stage(self, stage: Stage) -> list[StepRecord]:
        """One stage, with an optimizer and a schedule of its own; its nodes alone require gradients."""
        freeze_all_but(self.model, self.graph, stage)
        optimizer = make_optimizer(self.model, self.settings.optimizer)
        schedule = stage_schedule(stage, self.settings)
        records, tokens, began = [], 0, time.monotonic()
        with StageProgress(self.console, stage, self.settings.print_every) as progress:
            for index in range(stage.steps):
                record = self.train_step(stage, optimizer, schedule.lr(index))
                records.append(record)
                tokens += record.tokens
                elapsed = time.monotonic() - began
                left = elapsed / (index + 1) * (stage.steps - index - 1)
                progress.show(index + 1, record, tokens / elapsed, left)
        return records

    def train_step(self, stage: Stage, optimizer: torch.optim.Optimizer, lr: float) -> StepRecord:
        """One optimizer step over the next global batch.

        Raises:
            TrainingError: the loss is not finite; parameters are left as they were before the step.
        """
        began = time.monotonic()
        self.step += 1
        samples, size = next(self.groups), self.settings.micro_batch
        batches = [self.collator.training_batch(samples[at : at + size]) for at in range(0, len(samples), size)]
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate_gradients(self.model, batches)
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        clip = self.settings.optimizer.clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(trained, clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            where = ", ".join(sample.where for sample in samples[:3])
            raise TrainingError(
                f"step {self.step} ({stage.name}): loss {loss}, gradient norm {norm}. Samples: {where}, …"
            )
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        now = time.monotonic()
        tokens = sum(batch.tokens for batch in batches)
        seconds = now - began
        record = StepRecord(
            step=self.step,
            stage=stage.name,
            loss=loss,
            lr=lr,
            grad_norm=norm,
            tokens=tokens,
            tokens_per_second=tokens / seconds,
            samples_per_second=len(samples) / seconds,
            peak_memory_gib=peak_memory_gib(),
            seconds=round(now - self.began, 3),
        )
        self.log.write(record)
        return record


def accumulate_gradients(model: nn.Module, batches: Sequence[Batch]) -> float:
    """Backward over micro-batches; the loss is the mean over all learned tokens of the global batch, in nats.

    So micro-batches only split memory: the gradient is the same however the global batch is cut.
    """
    device = next(model.parameters()).device
    targets = max(1, sum(batch.targets for batch in batches))
    total = 0.0
    for batch in batches:
        loss_mask = batch.loss_mask.to(device)
        losses, loss_mask = model(**batch.inputs(device), labels=batch.labels.to(device), loss_mask=loss_mask)
        loss = (losses * loss_mask).sum() / targets
        if loss.requires_grad:  # not so if only a tower trains and no picture is here
            loss.backward()
        total += float(loss.detach())
    return total


def stage_schedule(stage: Stage, settings: Training) -> Schedule:
    """A stage's own learning rate and warm-up, or those of the optimizer."""
    optimizer = settings.optimizer
    return Schedule(
        peak=optimizer.lr if stage.lr is None else stage.lr,
        end=optimizer.min_lr,
        warmup=optimizer.warmup_steps if stage.warmup_steps is None else stage.warmup_steps,
        total=stage.steps,
    )
