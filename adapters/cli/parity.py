"""`vlm-composer parity`: compare tiny models of a spec with transformers."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec
from adapters.cli.each_spec import each_spec, spec_files
from adapters.cli.quiet import quiet


def parity(
    *specs: Spec,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    seed: Annotated[int, Parameter(help="Seed of weights and batch.")] = 0,
    card: Annotated[Path | None, Parameter(help="Folder that gets the result as a page.")] = None,
) -> int:
    """Compare tiny models of a spec with transformers: logits, loss, every gradient, and the way back to a checkpoint.

    One model for the configuration as it is, one for each switch of the spec turned off. Exit status 1 if anything
    differs; the first wrong part is named.
    """
    files = spec_files(specs, hf)
    quiet()
    from adapters import parity as comparison
    from adapters.screen import screen

    console = screen()

    def compare(file: Path) -> int:
        with console.status("building") as status:
            report = comparison.run(
                file, hf, set_, seed=seed, progress=lambda name: status.update(f"comparing {file.stem}: {name}")
            )
        report.print(console)
        if card and report.green:
            console.print(f"card: {comparison.write_card(report, card)}", highlight=False)
        return report.exit_code

    return each_spec(files, compare)
