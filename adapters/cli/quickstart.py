"""`vlm-composer quickstart`: teach a small model to read numbers in pictures."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from adapters.cli.arguments import spec_file
from adapters.cli.quiet import quiet

RECIPES = {"gemma4_vl": "adapters.quickstart.model", "compose_your_own": "adapters.quickstart.composed_model"}


def quickstart(
    *,
    spec: Annotated[
        Literal["gemma4_vl", "compose_your_own"],
        Parameter(help="What is composed: a small Gemma 4 VL, or a model of two checkpoints and a fresh projector."),
    ] = "gemma4_vl",
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder of the run.")] = Path("runs/quickstart"),
    seed: Annotated[int, Parameter(help="Seed of pictures, weights and the order of samples.")] = 0,
) -> int:
    """Compose a small model, check that it equals transformers, teach it to read numbers, and export it.

    Exit status 1 if the model and that of transformers differ, before or after training.
    """
    quiet()
    from adapters.quickstart.run import run

    recipe = import_module(RECIPES[spec]).RECIPE
    return run(spec_file(spec), output, recipe=recipe, seed=seed).exit_code
