"""A whole training run: build, check on the first batch, train stage after stage, export."""

from pathlib import Path

import torch
from attrs import frozen
from rich.console import Console
from rich.table import Table
from torch import nn

from adapters.training.collator import Collator
from adapters.training.log import RunLog, StepRecord
from adapters.training.loop import Trainer, accumulate_gradients, stage_schedule
from adapters.training.samples import JsonlSamples
from adapters.training.sampling import endless_groups
from adapters.training.settings import Training
from adapters.training.setup import check_settings, make_collator
from adapters.training.stages import node_sizes
from composer import Graph

TRAINING_FILE = "train.jsonl"


@frozen(eq=False)
class TrainingResult:
    """The trained model, what makes batches for it, a record of every step (none after a dry run), the run's folder."""

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
    weights: Path | None = None,
    tokenizer_dir: Path | None = None,
    dry_run: bool = False,
    console: Console | None = None,
) -> TrainingResult:
    """Train the model of a graph on `data_dir/train.jsonl`.

    Args:
        graph: a checked graph.
        settings: stages, batches, optimizer.
        data_dir: LLaVA-style JSONL with pictures (see `adapters.training.samples`).
        run_dir: gets `log.jsonl`, `tensorboard/`, and the trained checkpoint in Hugging Face's form in `hf/`.
        weights: a Hugging Face checkpoint to start from; without one everything is fresh.
        tokenizer_dir: folder of `tokenizer.json`; by default that of `weights`, else `data_dir`.
        dry_run: stop after building and checking the first batch; nothing is written.
        console: where tables and progress go; a new one by default.

    Raises:
        TrainingError: settings, data or tokenizer do not fit the graph.
        CheckpointError: the checkpoint does not fit the graph.
    """
    console = console or Console()
    check_settings(settings, graph)
    samples = JsonlSamples(data_dir / TRAINING_FILE)
    collator = make_collator(graph, settings, tokenizer_dir or weights or data_dir)
    # Before the model: data is checked in a second, and building may take minutes.
    first = collator.training_batch(next(endless_groups(samples, settings.micro_batch, settings.seed)))
    model = build_model(graph, settings.seed, weights)
    console.print(stage_table(model, graph, settings))
    if dry_run:
        with torch.no_grad():
            loss = accumulate_gradients(model, [first])
        console.print(
            f"{len(samples):,} samples; first micro-batch {tuple(first.input_ids.shape)}: {first.targets} learned "
            f"tokens, {int(first.images_per_sample.sum())} pictures, loss {loss:.3f}. Dry run: nothing trained."
        )
        return TrainingResult(model, collator, (), run_dir)
    length = collator.length if settings.group_by_length else None
    groups = endless_groups(samples, settings.global_batch, settings.seed, length)
    with RunLog(run_dir) as log:
        records = Trainer(model, graph, collator, settings, groups, log, console).run()
    export(model, collator, run_dir / "hf")
    return TrainingResult(model, collator, tuple(records), run_dir)


def build_model(graph: Graph, seed: int, weights: Path | None) -> nn.Module:
    """The composed model on this machine's device, with a checkpoint's weights or fresh ones."""
    from adapters.megatron import build, runtime
    from components.vision.initialisation import initialise_tower

    runtime.init(seed=seed)
    model = build(graph)
    if weights is not None:
        from adapters.huggingface.import_weights import import_weights

        import_weights(model, weights)
    else:
        for name in graph.nodes:
            if graph.component(name).role == "tower":
                initialise_tower(model.get_submodule(name))
    return model.to("cuda") if torch.cuda.is_available() else model


def export(model: nn.Module, collator: Collator, folder: Path) -> None:
    """The checkpoint in Hugging Face's form, with its tokenizer."""
    from adapters.huggingface.export_weights import export_weights

    export_weights(model, folder, overwrite=True)
    collator.encoder.tokenizer.save(str(folder / "tokenizer.json"))


def stage_table(model: nn.Module, graph: Graph, settings: Training) -> Table:
    """What trains in which stage, node by node."""
    table = Table("node", "role")
    table.add_column("parameters", justify="right")
    columns = []
    for stage in settings.stages:
        schedule = stage_schedule(stage, settings)
        table.add_column(f"{stage.name}\n{stage.steps} steps\nlearning rate {schedule.peak:g}")
        columns.append(node_sizes(model, graph, stage))
    for sizes in zip(*columns, strict=True):
        states = ("[green]trains[/]" if size.trains else "[dim]frozen[/]" for size in sizes)
        table.add_row(sizes[0].node, sizes[0].role, f"{sizes[0].parameters:,}", *states)
    return table
