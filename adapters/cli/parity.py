"""`vlm-composer parity`: compare tiny models of a spec with transformers."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, spec_file
from adapters.cli.quiet import quiet


def parity(
    spec: Spec,
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    seed: Annotated[int, Parameter(help="Seed of weights and batch.")] = 0,
    card: Annotated[Path | None, Parameter(help="Folder that gets the result as a page.")] = None,
) -> int:
    """Compare tiny models of a spec with transformers: logits, loss, every gradient, and the way back to a checkpoint.

    One model for the configuration as it is, one for each switch of the spec turned off. Exit status 1 if anything
    differs; the first wrong part is named.
    """
    file = spec_file(spec)
    quiet()
    from rich.console import Console

    from adapters import parity as comparison

    console = Console()
    with console.status("building") as status:
        report = comparison.run(file, hf, set_, seed=seed, progress=lambda name: status.update(f"comparing: {name}"))
    report.print(console)
    if card and report.green:
        console.print(f"card: {comparison.write_card(report, card)}", highlight=False)
    return report.exit_code
