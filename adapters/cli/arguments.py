"""Arguments that several commands share, and the graph they name."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adapters.cli.failure import UsageError
from composer import Graph
from composer.suggestion import suggestion

Spec = Annotated[str, Parameter(help="A spec file, or the bare name of a shipped spec.")]
Hf = Annotated[
    str | None,
    Parameter(
        name="--hf",
        help="Checkpoint directory, hub id or config.json that gives the sizes [the spec's own]; part=checkpoint,… for "
        "parts of a spec that is put together.",
    ),
]
Overrides = Annotated[
    list[str],
    Parameter(name="--set", negative="", help="Override a value: `nodes.x.y=1` or `hf.text_config.z=1`. Repeatable."),
]


def shipped_specs() -> dict[str, Path]:
    """The specs that came with the package, by bare name."""
    import specs

    return {path.stem: path for path in sorted(Path(str(specs.__file__)).parent.glob("*.yaml"))}


def spec_file(spec: str) -> Path:
    """The file that `spec`, a path or the bare name of a shipped spec, means.

    Raises:
        UsageError: there is neither; names a near one, or those there are.
    """
    path = Path(spec)
    if path.is_file():
        return path
    shipped = shipped_specs()
    if spec in shipped:
        return shipped[spec]
    if path.is_dir():
        raise UsageError(f"{spec}: is a directory, not a spec file.")
    raise UsageError(f"{spec}: no such file, and no shipped spec has this name.{suggestion(path.stem, shipped)}")


def existing(path: Path | None) -> None:
    """Say so now if a path that was given leads nowhere.

    Raises:
        UsageError: nothing is there.
    """
    if path is not None and not path.exists():
        raise UsageError(f"{path}: no such file or directory.")


def load_graph(spec: str, hf: str | None, overrides: list[str]) -> Graph:
    """The graph that the shared arguments name.

    Raises:
        UsageError: no such spec.
        HfConfigError: no such configuration.
        SpecError: the spec has problems, each with its line.
    """
    from adapters.huggingface.configured import load_configured

    return load_configured(spec_file(spec), hf, overrides)
