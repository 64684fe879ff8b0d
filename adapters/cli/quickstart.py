"""`vlm-composer quickstart`: teach a small model to read numbers in pictures."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import spec_file
from adapters.cli.quiet import quiet


def quickstart(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder of the run.")] = Path("runs/quickstart"),
    seed: Annotated[int, Parameter(help="Seed of pictures, weights and the order of samples.")] = 0,
) -> int:
    """Compose a small Gemma 4 VL, check that it equals transformers, teach it to read numbers, and export it.

    Exit status 1 if the model and that of transformers differ, before or after training.
    """
    quiet()
    from adapters.quickstart.run import run

    return run(spec_file("gemma4_vl"), output, seed=seed).exit_code
