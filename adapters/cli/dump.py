"""`vlm-composer dump`: a spec with everything filled in."""

from typing import Annotated

from cyclopts import Parameter

from adapters.cli.arguments import Hf, Overrides, Spec, load_graph


def dump(
    spec: Spec,
    /,
    *,
    hf: Hf = None,
    set_: Overrides = [],  # noqa: B006 (cyclopts reads the default)
    origin: Annotated[bool, Parameter(negative="", help="Say beside each value where it came from.")] = False,
) -> None:
    """Print a spec with every `${hf.…}`, `when` and default resolved; it loads to the same graph."""
    from composer import dump as to_yaml

    print(to_yaml(load_graph(spec, hf, set_), origin=origin), end="")
