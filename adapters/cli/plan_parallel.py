"""`vlm-composer plan parallel`: which layout fits, how fast it is, and why not another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import frozen as frozen_class
from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, existing, load_graph
from adapters.cli.failure import UsageError
from adapters.cli.quiet import quiet

if TYPE_CHECKING:
    from adapters.plans.parallel import Asked
    from composer import Graph
    from composer.plans.plan_file import Frozen, ParallelPlan

EXIT_DIFFERENT, EXIT_NOTHING_FITS = 1, 3
Sizes = Parameter(group="Bounds of the search", negative="", consume_multiple=True)


@Parameter(name="*")
@frozen_class
class Bounds:
    """Sizes that the search keeps to; without them, all of the space."""

    tp: Annotated[tuple[int, ...], Sizes, Parameter(help="Tensor-parallel sizes.")] = ()
    pp: Annotated[tuple[int, ...], Sizes, Parameter(help="Pipeline sizes.")] = ()
    virtual_stages: Annotated[tuple[int, ...], Sizes, Parameter(help="Pipeline stages of a pipeline rank.")] = ()
    cp: Annotated[tuple[int, ...], Sizes, Parameter(help="Context-parallel sizes.")] = ()
    ep: Annotated[tuple[int, ...], Sizes, Parameter(help="Expert-parallel sizes.")] = ()
    etp: Annotated[tuple[int, ...], Sizes, Parameter(help="Ranks that share an expert.")] = ()
    micro_batch: Annotated[tuple[int, ...], Sizes, Parameter(help="Micro-batch sizes.")] = ()
    recompute: Annotated[
        tuple[Literal["none", "selective", "full"], ...], Sizes, Parameter(help="What is computed again.")
    ] = ()
    engine: Annotated[tuple[Literal["megatron", "deepspeed"], ...], Sizes, Parameter(help="Engines.")] = ()


def parallel(
    spec: Spec,
    /,
    *,
    gpus: Annotated[int, Parameter(help="Number of GPUs.")],
    seq: Annotated[int, Parameter(help="Tokens of a sample, placeholders counted.")],
    global_batch: Annotated[int, Parameter(help="Samples of an optimizer step.")],
    gpu: Annotated[str, Parameter(help="h100, h200, a100, b200, or a hardware file.")] = "h100",
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    images: Annotated[int, Parameter(help="Images of a sample.")] = 1,
    image_tokens: Annotated[int, Parameter(help="Feature rows of an image.")] = 256,
    precision: Annotated[Literal["bf16", "fp32"], Parameter(help="Of parameters and activations.")] = "bf16",
    implementation: Annotated[
        Literal["transformer_engine", "local"], Parameter(help="Linears, norms and experts of the decoder.")
    ] = "transformer_engine",
    frozen: Annotated[
        list[str], Parameter(negative="", help="What does not train: a node, role or selector. Repeatable.")
    ] = [],  # noqa: B006 (cyclopts reads the default)
    freeze_plan: Annotated[Path | None, Parameter(help="File of `plan freeze`, instead of --frozen.")] = None,
    stage: Annotated[str | None, Parameter(help="Stage of the freeze plan [its only one].")] = None,
    fill: Annotated[float, Parameter(help="Share of a GPU's memory that a plan may use.")] = 0.9,
    calibrate: Annotated[Path | None, Parameter(help="Log of a run (JSONL): fit the efficiencies to it.")] = None,
    verify: Annotated[
        bool, Parameter(negative="", help="Build each kind of rank without memory, and compare.")
    ] = False,
    format: Annotated[Literal["table", "yaml"], Parameter(help="What to print.")] = "table",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write the plan to this file.")] = None,
    bounds: Bounds = Bounds(),
) -> int:
    """Find the fastest layout that fits.

    Tensor, sequence, pipeline, context, expert and data parallelism, how layers are dealt out, micro-batch,
    recomputation and optimizer: memory per rank and step time by component, the next best, and why what is obvious was
    not chosen. Exit status 3 if nothing fits: the smallest changes that would are named; 1 if `--verify` finds a
    difference.
    """
    _check(fill, images * image_tokens, seq, gpus=gpus, seq=seq, global_batch=global_batch, image_tokens=image_tokens)
    for path in (freeze_plan, calibrate):
        existing(path)
    quiet()  # the first inventory of a model builds it
    from composer.plans.hardware_file import load_hardware
    from composer.plans.job import Job
    from composer.plans.plan_file import Source
    from composer.plans.search.space import Space

    card = load_hardware(gpu)
    graph = load_graph(spec, hf, set_)
    chosen, trained = _what_trains(graph, frozen, freeze_plan, stage)
    from adapters.plans.parallel import Asked, Infeasible, plan
    from composer.plans.content import content_hash

    engines = bounds.engine or ("megatron", "deepspeed")
    sizes = (bounds.tp, bounds.pp, bounds.virtual_stages, bounds.cp, bounds.ep, bounds.etp, bounds.micro_batch)
    job = Job(gpus, seq, global_batch, images, image_tokens, precision, implementation)
    source = Source(spec, content_hash(graph), hf, tuple(set_))
    asked = Asked(graph, source, chosen, job, card, Space(*sizes, bounds.recompute, engines), fill, trained)
    if calibrate is not None:
        asked = _calibrated(asked, calibrate)
    made = plan(asked)
    from rich.console import Console

    if isinstance(made, Infeasible):
        from adapters.plans.tables import print_changes

        print_changes(made.smallest, made.limit, made.changes, Console(stderr=True))
        return EXIT_NOTHING_FITS
    _tell(made, format, output)
    return _verified(graph, made) if verify else 0


def _check(fill: float, placeholders: int, length: int, **positive: int) -> None:
    if not 0 < fill <= 1:
        raise UsageError(f"--fill {fill}: a share above 0 and at most 1 is expected.")
    for name, value in positive.items():
        if value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: a positive number is expected.")
    if placeholders < 0 or placeholders > length:
        raise UsageError(f"--images and --image-tokens: {placeholders} placeholders do not fit in --seq {length}.")


def _what_trains(
    graph: "Graph", frozen: list[str], plan: Path | None, stage: str | None
) -> "tuple[Frozen, frozenset[str] | None]":
    from composer.plans.plan_file import Frozen

    if plan is None:
        if stage is not None:
            raise UsageError("--stage names a stage of --freeze-plan: give both.")
        return Frozen(selectors=tuple(frozen)), None
    if frozen:
        raise UsageError("--frozen or --freeze-plan: give one of them.")
    from adapters.plans.planned import trained_in

    name, names = trained_in(graph, plan, stage)
    return Frozen(str(plan), name), names


def _tell(plan: "ParallelPlan", format: str, output: Path | None) -> None:
    from composer.plans.plan_file import plan_text

    if output is not None:
        output.write_text(plan_text(plan), encoding="utf-8")
    if format == "yaml":
        print(plan_text(plan), end="")
        return
    from rich.console import Console

    from adapters.plans.tables import print_plan

    print_plan(plan, Console())


def _verified(graph: "Graph", plan: "ParallelPlan") -> int:
    from adapters.plans.verification_text import verification_text
    from adapters.plans.verify import verify

    verification = verify(graph, plan.execution)
    print(verification_text(verification))
    return 0 if verification.real else EXIT_DIFFERENT


def _calibrated(asked: "Asked", log: Path) -> "Asked":
    """Hardware whose efficiencies fit the steps of a run on it; the run says how it was executed and what trained."""
    from attrs import evolve

    from adapters.plans.observations import observations, trained_in_run
    from adapters.plans.planned import planned_model
    from composer.plans.calibrate import calibrate

    model = planned_model(asked.graph, trained=trained_in_run(log, asked.graph))
    fitted = calibrate(asked.hardware, observations(log, model))
    return evolve(asked, hardware=evolve(fitted, sources=(*fitted.sources, f"efficiency, launch_us: fitted to {log}")))
