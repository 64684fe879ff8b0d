"""From a checkpoint's configuration to a draft that `validate` takes."""

from pathlib import Path
from typing import Any

from adapters.init.compose import compose
from adapters.init.draft import Draft, Notes
from adapters.init.error import InitError
from adapters.init.inspection import inspect_model
from adapters.init.known import copy_of, known
from adapters.init.writing import comment, to_yaml
from composer import SpecError, loads


def make(config: dict[str, Any], name: str, folder: Path, *, anew: bool = False) -> Draft:
    """Draft a spec.

    Args:
        config: a plain configuration.
        name: of the spec, and of the files `name.yaml` and `name.json`.
        folder: where they will be.
        anew: compose even if a shipped spec stands for the configuration.

    Raises:
        InitError: nothing can be composed of it, or what was composed is no valid spec.
        SpecError: a shipped spec stands for it and does not take it.
    """
    spec = None if anew else known(config)
    if spec is not None:
        return copy_of(spec, config, name, f"{name}.json")
    notes = Notes()
    document = compose(inspect_model(config), name, f"{name}.json", notes)
    text = _head(document) + to_yaml(document) + _tail(notes)
    try:
        loads(text, file=str(folder / f"{name}.yaml"), hf=config)
    except SpecError as error:
        message = f"what was composed is no valid spec: please report it, with the configuration.\n{error}"
        raise InitError(message) from error
    return Draft(name, text, config, tuple(notes.found))


def _head(document: dict[str, Any]) -> str:
    return comment(
        f"A draft for {document['hf']['architecture']}. A comment says where a value was taken from: a module of "
        "transformers' model, or a measurement of a tiny one. What could not be decided stands at the end."
    )


def _tail(notes: Notes) -> str:
    if not notes.found:
        return "\n# Nothing was left undecided; `vlm-composer parity` says whether it is right.\n"
    lines = ["\n# Undecided:\n"]
    for note in notes.found:
        first, *others = comment(str(note)).splitlines()
        lines += [f"# - {first.removeprefix('# ')}\n", *(f"#   {line.removeprefix('# ')}\n" for line in others)]
    return "".join(lines)
