"""The loop over steps: reads this rank's share of each global batch, lets the engine step, logs, saves, resumes."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, field
from rich.console import Console

from adapters import checkpoint_folder
from adapters.training.collator import Batch, Collator
from adapters.training.engine import Engine
from adapters.training.log import RunLog, StepRecord
from adapters.training.memory import peak_memory_gib
from adapters.training.problems import Finding, NonFiniteError, TrainingError
from adapters.training.progress import StageProgress
from adapters.training.samples import Sample
from adapters.training.schedule import Schedule
from adapters.training.settings import Stage, Training
from adapters.training.shares import is_first, sum_over_shares

Groups = Callable[[int], Iterator[Sequence[Sample]]]
"""Global batches in the order of the data, after leaving out so many."""

NAMED = 8  # samples of a batch that is not finite


@define
class Trainer:
    """Trains the model of an engine; every rank runs one.

    log: without sinks on ranks that write none. checkpoints: folder to save into; None to save nothing. step: optimizer
    steps over all stages so far. began: monotonic time.
    """

    engine: Engine
    collator: Collator
    settings: Training
    groups: Groups
    console: Console
    log: RunLog = field(factory=RunLog)
    checkpoints: Path | None = None
    step: int = 0
    began: float = 0.0

    def run(self) -> list[StepRecord]:
        """All stages, or what is left of them after the checkpoint that `resume` has loaded. Every step's record."""
        self.began = time.monotonic()
        groups = self.groups(self.step)
        records, end = [], 0
        for stage in self.settings.stages:
            first, end = end, end + stage.steps
            if self.step <= first:
                self.engine.begin_stage(stage)
            if self.step < end:
                records += self.run_stage(stage, groups, self.step - first)
        self._finish_save()
        return records

    def resume(self, folder: Path) -> None:
        """Go on from a complete checkpoint.

        Raises:
            TrainingError: the settings have other stages than the run that saved it.
            CheckpointError: it is of another model.
        """
        step = checkpoint_folder.step_of(folder)
        stage = stage_of_step(self.settings, step)
        self.engine.begin_stage(stage)
        saved = self.engine.load(folder)
        if (saved["stage"], saved["step"]) != (stage.name, step):
            raise TrainingError(
                f"{folder}: is of stage {saved['stage']}, step {saved['step']}; these settings are in stage "
                f"{stage.name} at step {step}. Resume with the settings of the run."
            )
        self.step = step

    def run_stage(self, stage: Stage, groups: Iterator[Sequence[Sample]], done: int = 0) -> list[StepRecord]:
        """What is left of one stage after `done` steps."""
        schedule = stage_schedule(stage, self.settings)
        records, tokens, began = [], 0, time.monotonic()
        with StageProgress(self.console, stage, self.settings.print_every) as progress:
            for index in range(done, stage.steps):
                record = self.train_step(stage, next(groups), schedule.lr(index))
                records.append(record)
                tokens += record.tokens
                elapsed = time.monotonic() - began
                left = elapsed / (index + 1 - done) * (stage.steps - index - 1)
                progress.show(index + 1, record, tokens / elapsed, left)
                self._save(stage)
        return records

    def train_step(self, stage: Stage, samples: Sequence[Sample], lr: float) -> StepRecord:
        """One optimizer step over a global batch.

        Raises:
            NonFiniteError: the loss or the gradient is not finite; parameters are left as they were before the step.
        """
        began = time.monotonic()
        batches = self.share(samples)
        try:
            result = self.engine.step(batches, lr)
        except NonFiniteError as error:
            suspects = [sample.where for sample in self.suspects(samples, error.finding)]
            where = ", ".join(suspects[:NAMED]) + (", …" if len(suspects) > NAMED else "")
            message = f"step {self.step + 1} ({stage.name}): {error} Samples: {where}."
            self.engine.finish_save()  # what was being written is good, and the next run's only way back
            raise NonFiniteError(error.loss, error.grad_norm, error.finding, message) from error
        self.step += 1
        tokens = sum_over_shares(sum(batch.tokens for batch in batches), self.engine)
        images = sum_over_shares(sum(int(batch.images_per_sample.sum()) for batch in batches), self.engine)
        now = time.monotonic()
        record = StepRecord(
            step=self.step,
            stage=stage.name,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            tokens=tokens,
            tokens_per_second=tokens / (now - began),
            samples_per_second=len(samples) / (now - began),
            peak_memory_gib=peak_memory_gib(),
            seconds=round(now - self.began, 3),
            images=images,
        )
        self.log.write(record)
        return record

    def share(self, samples: Sequence[Sample]) -> list[Batch]:
        """This rank's micro-batches of a global batch: a stretch of what one rank alone would cut it into."""
        engine = self.engine
        count = len(samples) // engine.data_ranks
        own = samples[engine.data_rank * count : (engine.data_rank + 1) * count]
        return self.collator.micro_batches(
            own, self.settings.micro_batch, multiple=engine.sequence_multiple, uniform=engine.uniform
        )

    def suspects(self, samples: Sequence[Sample], finding: Finding | None) -> Sequence[Sample]:
        """The samples of the micro-batch in which something was found; all of the global batch, if nothing was."""
        if finding is None:
            return samples
        size = self.settings.micro_batch
        start = finding.data_rank * (len(samples) // self.engine.data_ranks) + finding.micro_batch * size
        return samples[start : start + size]

    def _save(self, stage: Stage) -> None:
        every = self.settings.checkpoints.every
        if self.checkpoints is None or not every or self.step % every:
            return
        self._finish_save()
        folder = self.checkpoints / checkpoint_folder.name_of(self.step)
        self.engine.save(folder, {"stage": stage.name, "step": self.step})
        self._prune()

    def _finish_save(self) -> None:
        if self.checkpoints is not None and self.settings.checkpoints.every:
            self.engine.finish_save()
            self._prune()

    def _prune(self) -> None:
        if self.checkpoints is not None and is_first():
            checkpoint_folder.prune(self.checkpoints, self.settings.checkpoints.keep)


def stage_of_step(settings: Training, step: int) -> Stage:
    """The stage that takes a step, counted over all stages from 1.

    Raises:
        TrainingError: the run's stages end before.
    """
    end = 0
    for stage in settings.stages:
        end += stage.steps
        if step <= end:
            return stage
    raise TrainingError(f"stages: end after {end} steps, but the run folder has a checkpoint of step {step}.")


def stage_schedule(stage: Stage, settings: Training) -> Schedule:
    """A stage's own learning rate and warm-up, or those of the optimizer."""
    optimizer = settings.optimizer
    return Schedule(
        peak=optimizer.lr if stage.lr is None else stage.lr,
        end=optimizer.min_lr,
        warmup=optimizer.warmup_steps if stage.warmup_steps is None else stage.warmup_steps,
        total=stage.steps,
    )
