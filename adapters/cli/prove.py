"""`vlm-composer prove`: perturb one feature row and check who may see it."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec
from adapters.cli.each_spec import each_spec, spec_files
from adapters.cli.quiet import quiet


def prove(
    *specs: Spec,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    seed: Annotated[int, Parameter(help="Seed of weights and batch.")] = 0,
    layout: Annotated[
        str | None,
        Parameter(help="Prove these instead of one process: tp2,pp2,tp2xpp2, …; all: every documented one."),
    ] = None,
    write: Annotated[
        Path | None, Parameter(help="With --layout: folder for each spec's table, NAME.layouts.md, if it is proved.")
    ] = None,
) -> int:
    """Change one projected feature row at a time, each layer kind alone, and check exactly who changed.

    Also freezes every choice of nodes and checks which parameters gradient reaches. On a tiny model of the spec. Exit
    status 1 if anything is not as the mask rules say.

    With `--layout`, each rank is a process of this machine, and loss, every gradient, packed documents, pictures on
    some ranks only, frozen nodes and who sees whom are held against one process. `x` joins parts of a layout: tpN, ppN,
    vpN (virtual stages), cpN, epN, etpN, dpN, sp (sequence parallel), do (distributed optimizer).
    """
    files = spec_files(specs, hf)
    if layout is not None:
        return _under_layouts(files, hf, set_, seed, layout, write)
    quiet()
    from adapters import prove as proofs

    def proved(file: Path) -> int:
        report = proofs.run(file, hf, set_, seed=seed)
        report.print()
        return report.exit_code

    return each_spec(files, proved)


def _under_layouts(files: list[Path], hf: Any, overrides: list[str], seed: int, text: str, write: Path | None) -> int:
    from adapters.prove.layouts import EVERY_LAYOUT, parse_layouts

    layouts = parse_layouts(EVERY_LAYOUT if text == "all" else text)
    quiet()
    from adapters.prove.layouts.report import print_report, write_page
    from adapters.prove.layouts.running import run
    from adapters.screen import screen

    console = screen()
    reports = run(files, layouts, hf, overrides, seed=seed, progress=lambda text: console.print(text, style="dim"))
    for report in reports:
        print_report(report, console)
        if write is not None and report.exit_code == 0:
            console.print(f"{write_page(report, write)}")
    return max(report.exit_code for report in reports)
