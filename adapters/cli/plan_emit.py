"""`vlm-composer plan emit`: write a plan out for whoever is to run it."""

from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

from attrs import evolve
from cyclopts import Parameter

from adapters.cli.arguments import load_graph, shipped_specs
from adapters.cli.failure import UsageError
from adapters.cli.quiet import quiet

if TYPE_CHECKING:
    from adapters.training.settings import Training
    from composer import Graph
    from composer.plans.plan_file import ParallelPlan

Plan = Annotated[Path, Parameter(help="A plan file, from `plan parallel`.")]
STEPS = 100


def emit(
    plan: Plan,
    /,
    *,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="Folder [the plan's name beside it].")
    ] = None,
    settings: Annotated[
        Path | None, Parameter(help="Training settings that get the plan's execution [new ones].")
    ] = None,
    steps: Annotated[int | None, Parameter(help="Steps of new settings [100].")] = None,
    data: Annotated[Path | None, Parameter(help="Folder with train.jsonl [scripts ask for DATA].")] = None,
    weights: Annotated[Path | None, Parameter(help="Hugging Face checkpoint to start from [fresh weights].")] = None,
    tokenizer: Annotated[Path | None, Parameter(help="Folder of tokenizer.json [that of the weights or data].")] = None,
    run: Annotated[Path | None, Parameter(help="Folder of the run [`run` in the output folder].")] = None,
    words: Annotated[list[str] | None, Parameter(parse=False)] = None,
) -> None:
    """Write a plan out: Megatron-LM arguments, training settings, DeepSpeed JSON, torchrun and Slurm scripts.

    Paths are made absolute from where this is run; they need not exist here.
    """
    from adapters.plans.reading import check_graph, read_plan
    from adapters.plans.scripts import Command
    from adapters.plans.training_settings import fresh_settings, planned_settings
    from adapters.plans.writing import write_out

    if settings is not None and steps is not None:
        raise UsageError("--steps is for new settings: give it or --settings, not both.")
    file = read_plan(plan)
    source = file.plan.model
    quiet()  # the first inventory of a model builds it
    graph = load_graph(source.spec, source.hf, list(source.set))
    check_graph(file, graph)
    folder = (output or plan.with_suffix("")).absolute()
    if folder == plan.absolute():
        raise UsageError(f"{plan}: name a folder to write to: --output FOLDER.")
    if settings is None:
        chosen = fresh_settings(file.plan, graph, STEPS if steps is None else steps)
    else:
        chosen = planned_settings(file.plan, _load(settings, graph))
    paths = {"--weights": weights, "--tokenizer": tokenizer, "--output": run or folder / "run"}
    options = [*model_options(file.plan), *((name, str(path.absolute())) for name, path in paths.items() if path)]
    command = Command(_spec(source.spec), str(data.absolute()) if data else None, tuple(options))
    header = _header(words or ["plan", "emit", str(plan)], file.plan, file.digest)
    written = write_out(file, graph, chosen, command, folder, header)
    written.save(folder)
    print(f"{folder}: {', '.join(written.files)}")
    for name, why in written.absent.items():
        print(f"No {name}: {why}.")
    if settings is None:
        print(f"Optimizer and schedule are defaults, for {chosen.stages[0].steps} steps: edit training.yaml.")
    for note in written.notes:
        print(f"Note: {note}")


def _load(settings: Path, graph: "Graph") -> "Training":
    from adapters.training.settings_file import load_settings
    from adapters.training.setup import check_settings

    given = load_settings(settings)
    check_settings(given, graph)
    # The file that is written stands elsewhere.
    plan = given.freeze_plan
    return given if plan is None else evolve(given, freeze_plan=str(Path(plan).absolute()))


def _spec(spec: str) -> str:
    """A shipped spec's name stays one; a file's path becomes absolute."""
    path = Path(spec)
    return spec if spec in shipped_specs() and not path.is_file() else str(path.absolute())


def model_options(plan: "ParallelPlan") -> list[tuple[str, str]]:
    """Options of `train` that name the model as the plan does."""
    source = plan.model
    found = [("--set", given) for given in source.set]
    if source.hf is not None:
        path = Path(source.hf).expanduser()
        found.append(("--hf", str(path.absolute()) if path.exists() else source.hf))
    return found


def _header(words: list[str], plan: "ParallelPlan", digest: str) -> list[str]:
    from adapters.cli.app import installed_version

    layout = plan.execution.layout
    sizes = [f"{name} {size}" for name in ("tp", "pp", "cp", "ep", "etp") if (size := getattr(layout, name)) > 1]
    what = f"{plan.execution.gpus} GPUs, {plan.execution.engine}, {', '.join(sizes) or 'data parallel only'}"
    return [
        f"Written by vlm-composer {installed_version()}: {join(['vlm-composer', *words])}",
        f"Plan with SHA-256 {digest}… for {plan.model.spec} ({plan.model.hash}): {what}.",
    ]
