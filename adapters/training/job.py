"""A whole training run: check on the first batch, build, train stage after stage, export."""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen
from rich.console import Console
from rich.table import Table
from torch import nn

from adapters import checkpoint_folder
from adapters.huggingface.export_form import export_problems
from adapters.training.collator import Collator
from adapters.training.engine import Engine
from adapters.training.log import RunLog, StepRecord, open_log, read_log
from adapters.training.loop import Trainer, stage_schedule
from adapters.training.problems import TrainingError
from adapters.training.ranks import check_processes
from adapters.training.run_file import Run, write_run
from adapters.training.samples import JsonlSamples
from adapters.training.sampling import endless_groups
from adapters.training.settings import Training
from adapters.training.setup import check_settings, fitted, make_collator, tokenizer_place
from adapters.training.shares import agreed, is_first
from adapters.training.stages import NodeSize, load_plan, node_sizes
from composer import Graph
from composer.plans.content import content_hash
from composer.plans.freeze_file import FreezePlan

if TYPE_CHECKING:
    from adapters.megatron.module import ComposedModel

TRAINING_FILE = "train.jsonl"
LOG_FILE = "log.jsonl"
CHECKPOINTS = "checkpoints"


@frozen(eq=False)
class TrainingResult:
    """The trained model (this rank's first stage of it), what makes batches for it, a record of every step (none after
    a dry run), the run's folder.
    """

    model: nn.Module
    collator: Collator
    records: tuple[StepRecord, ...]
    folder: Path


def run(
    graph: Graph,
    settings: Training,
    data_dir: Path,
    run_dir: Path,
    *,
    weights: Path | Mapping[str, Path] | None = None,
    tokenizer_dir: Path | None = None,
    dry_run: bool = False,
    resume: bool = False,
    tensorboard: bool = False,
    wandb: str | None = None,
    console: Console | None = None,
) -> TrainingResult:
    """Train the model of a graph on `data_dir/train.jsonl`; every process of a launch calls it.

    Args:
        graph: a checked graph.
        settings: stages, batches, optimizer, engine and layout.
        data_dir: LLaVA-style JSONL with pictures (see `adapters.training.samples`).
        run_dir: gets `log.jsonl`, `run.yaml`, `checkpoints/` if the settings ask for them, and the trained checkpoint
            in Hugging Face's form in `hf/`. All processes must see the same folder.
        weights: a Hugging Face checkpoint to start from, or one for each node by name; what has none is fresh.
        tokenizer_dir: folder of `tokenizer.json`; by default that of `weights` (of the decoder), else `data_dir`.
        dry_run: stop after building and one step at learning rate zero; nothing is written.
        resume: go on from the newest checkpoint in `run_dir`, if there is one.
        tensorboard: log to `tensorboard/` of the run's folder too.
        wandb: project of Weights & Biases to log to as well.
        console: where tables and progress go; a new one by default.

    Raises:
        TrainingError: settings, data or tokenizer do not fit the graph, or the layout the number of processes.
        NonFiniteError: the loss or the gradient of a step is no finite number.
        CheckpointError: the checkpoint does not fit the graph.
    """
    console = (console or Console()) if is_first() else Console(quiet=True)
    settings = fitted(settings, graph)
    check_settings(settings, graph)
    check_processes(settings, int(os.environ.get("WORLD_SIZE", "1")))
    unfit = export_problems(graph)
    if unfit:
        console.print(_instead(unfit, settings), markup=False, highlight=False, soft_wrap=True)
    samples = JsonlSamples(data_dir / TRAINING_FILE)
    collator = make_collator(graph, settings, tokenizer_dir or tokenizer_place(graph, weights, data_dir))
    # Before the model: data is checked in a second, and building may take minutes.
    collator.training_batch(next(endless_groups(samples, settings.micro_batch, settings.seed)))
    from adapters.huggingface.start_report import print_report
    from adapters.megatron.start import build_stages

    models = build_stages(graph, settings, weights, partial(print_report, console=console))
    plan = load_plan(settings, graph)
    console.print(stage_table(models, graph, settings, plan))
    engine = make_engine(models, settings, plan)
    length = collator.length if settings.group_by_length else None
    groups = partial(endless_groups, samples, settings.global_batch, settings.seed, length)
    trainer = Trainer(engine, collator, settings, groups, console)
    if dry_run:
        _try_one_step(trainer, len(samples))
        return TrainingResult(engine.model, collator, (), run_dir)
    if is_first():
        write_run(run_dir, Run(int(os.environ.get("WORLD_SIZE", "1")), content_hash(graph), settings))
    records = _train(trainer, run_dir, resume, partial(open_log, run_dir, tensorboard=tensorboard, wandb=wandb))
    saved = run_dir / ("composed" if unfit else "hf")
    if unfit:
        save_composed(engine.model, graph, saved)
    else:
        engine.export(saved)
    if is_first():
        collator.encoder.tokenizer.save(str(saved / "tokenizer.json"))
    return TrainingResult(engine.model, collator, tuple(records), run_dir)


def save_composed(model: nn.Module, graph: Graph, folder: Path) -> None:
    """A model that no class of transformers is, in our own form, in place of an earlier one."""
    from adapters import composed_checkpoint
    from adapters.huggingface.checkpoint import SINGLE

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        (folder / SINGLE).unlink(missing_ok=True)
        composed_checkpoint.save(model, graph, folder)


def _instead(problems: list[str], settings: Training) -> str:
    """What is left of a run that cannot end with an export.

    Raises:
        TrainingError: nothing would be.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and not settings.checkpoints.every:
        advice = "set checkpoints.every: several processes would leave nothing else behind."
        raise TrainingError([f"the trained model cannot be exported; {advice}", *problems])
    words = "its checkpoints are what is left" if several else "it is saved in the run's folder `composed`"
    return "\n  ".join([f"The trained model cannot be exported; {words}:", *problems])


def make_engine(models: "list[ComposedModel]", settings: Training, plan: FreezePlan | None = None) -> Engine:
    """The engine that the settings name, over this rank's part of the model."""
    if settings.engine == "deepspeed":
        engines = importlib.import_module("adapters.deepspeed.engine")  # a package of its own, which may be absent
        engine: Engine = engines.DeepSpeedEngine(models[0], settings, plan=plan)
        return engine
    from adapters.megatron.engine import MegatronEngine

    return MegatronEngine(models, settings, plan=plan)


def _train(trainer: Trainer, run_dir: Path, resume: bool, open_log: Callable[..., RunLog]) -> list[StepRecord]:
    """All steps that are left, logged and saved in the run's folder; records of all steps."""
    trainer.checkpoints = run_dir / CHECKPOINTS
    newest = agreed(checkpoint_folder.latest(trainer.checkpoints)) if resume else None
    if newest is not None:
        trainer.resume(newest)
        trainer.console.print(f"Resumed after step {trainer.step} from {newest}.")
    step = trainer.step
    earlier = [record for record in read_log(run_dir / LOG_FILE) if record.step <= step] if step else []
    with open_log(after=step) if is_first() else RunLog() as log:
        trainer.log = log
        return [*earlier, *trainer.run()]


def _try_one_step(trainer: Trainer, samples: int) -> None:
    """The first stage's step on as few micro-batches as the layout can run, at learning rate zero."""
    settings, engine = trainer.settings, trainer.engine
    engine.begin_stage(settings.stages[0])
    count = settings.layout.pp if settings.layout.virtual_stages > 1 else 1
    group = next(trainer.groups(0))[: count * settings.micro_batch * engine.data_ranks]
    batches = trainer.share(group)
    loss = engine.step(batches, 0.0).loss
    first = batches[0]
    trainer.console.print(
        f"{samples:,} samples; first micro-batch {tuple(first.input_ids.shape)}: {first.targets} learned "
        f"tokens, {int(first.images_per_sample.sum())} pictures, loss {loss:.3f}. Dry run: nothing trained."
    )


def stage_table(
    models: "Sequence[ComposedModel]", graph: Graph, settings: Training, plan: FreezePlan | None = None
) -> Table:
    """What trains in which stage, node by node; parameters are those that this rank holds."""
    table = Table("node", "role")
    table.add_column("parameters", justify="right")
    columns = []
    for stage in settings.stages:
        schedule = stage_schedule(stage, settings)
        table.add_column(f"{stage.name}\n{stage.steps} steps\nlearning rate {schedule.peak:g}")
        columns.append(node_sizes(models, graph, stage, plan and plan.stage(stage.name)))
    for sizes in zip(*columns, strict=True):
        table.add_row(sizes[0].node, sizes[0].role, f"{sizes[0].parameters:,}", *map(_state, sizes))
    return table


def _state(size: NodeSize) -> str:
    if not size.trained:
        return "[dim]frozen[/]"
    return "[green]trains[/]" if size.trained == size.parameters else f"[green]{size.trained:,} train[/]"
