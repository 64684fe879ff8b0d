"""`vlm-composer train`: train a spec on a folder of pictures and conversations, on one process or many."""

from functools import partial
from pathlib import Path
from typing import Annotated

from attrs import evolve
from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec
from adapters.cli.failure import UsageError, is_for_people
from adapters.cli.quiet import quiet
from adapters.cli.training_flags import Flags
from adapters.cli.training_job import Job
from adapters.training.ranks import find_ranks

Weights = Annotated[
    list[str],
    Parameter(
        negative="",
        help="Hugging Face checkpoint to start from, or node=checkpoint for each node, repeatable [as the spec says; "
        "else fresh weights].",
    ),
]
Launch = partial(Parameter, group="Processes")


def train(
    spec: Spec,
    settings: Annotated[Path, Parameter(help="Training settings: a YAML file.")],
    data: Annotated[Path, Parameter(help="Folder with train.jsonl and its pictures.")],
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    weights: Weights = [],  # noqa: B006 (cyclopts reads the default)
    tokenizer: Annotated[Path | None, Parameter(help="Folder of tokenizer.json [that of the weights or data].")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder of the run.")] = Path("runs/train"),
    freeze_plan: Annotated[Path | None, Parameter(help="What trains, from `plan freeze` [the settings' own].")] = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Build, check the first batch, train nothing.")] = False,
    resume: Annotated[bool, Parameter(negative="", help="Go on from the newest checkpoint of the run.")] = False,
    tensorboard: Annotated[bool, Parameter(negative="", help="Log for TensorBoard as well.")] = False,
    wandb: Annotated[str | None, Parameter(help="Project of Weights & Biases to log to as well.")] = None,
    nproc: Annotated[int | None, Launch(help="Start so many ranks here; not under torchrun or srun.")] = None,
    max_restarts: Annotated[int, Launch(help="Start ranks again so often, from the last checkpoint.")] = 0,
    flags: Annotated[Flags, Parameter(name="*")] = Flags(),  # noqa: B008 (frozen)
    words: Annotated[list[str] | None, Parameter(parse=False)] = None,
) -> int:
    """Train a spec on a folder of pictures and conversations (LLaVA-style JSONL).

    The log goes to the run's folder as JSONL; the trained checkpoint to its folder `hf`. With `--nproc` several ranks
    train; torchrun, srun and deepspeed may start them instead: `torchrun --no-python vlm-composer train …`.
    """
    ranks = find_ranks()
    asked = Job(spec, settings, data, hf, set_, weights, tokenizer, output, dry_run, tensorboard, wandb, flags)
    asked = evolve(asked, freeze_plan=freeze_plan)
    if ranks is not None:
        if nproc is not None and ranks.local_size not in {None, nproc}:
            raise UsageError(f"--nproc {nproc}: a launcher has started {ranks.local_size} ranks here; leave it out.")
        quiet()
        from adapters.training.worker import run_rank

        run_rank(ranks, partial(asked.run, ranks.size, resume or ranks.attempt > 0), is_for_people)
        return 0
    count = 1 if nproc is None else nproc
    if count == 1 and not max_restarts:
        asked.run(1, resume)
        return 0
    asked.prepare(count, resume)
    quiet()
    from adapters.training.launch import start_ranks

    return start_ranks(words or [], count, max_restarts)
