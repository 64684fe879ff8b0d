"""`vlm-composer prove`: perturb one feature row and check who may see it."""

from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, spec_file
from adapters.cli.quiet import quiet


def prove(
    spec: Spec,
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    seed: Annotated[int, Parameter(help="Seed of weights and batch.")] = 0,
) -> int:
    """Change one projected feature row at a time, each layer kind alone, and check exactly who changed.

    Also freezes every choice of nodes and checks which parameters gradient reaches. On a tiny model of the spec. Exit
    status 1 if anything is not as the mask rules say.
    """
    file = spec_file(spec)
    quiet()
    from adapters import prove as proofs

    report = proofs.run(file, hf, set_, seed=seed)
    report.print()
    return report.exit_code
