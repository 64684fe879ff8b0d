"""The configuration of a model that no checkpoint is: sections of others', and fields of its own."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from composer.graph import Compose

TEXT = "text_config"
"""The part whose vocabulary new tokens extend; transformers calls every language model's section so."""

type Configuration = Callable[[str], Mapping[str, Any]]
"""From a checkpoint's directory, its config.json or its hub id to the plain configuration."""


@frozen
class Sources:
    """What a spec is read with beside its text: sources in place of its parts', and who reads checkpoints."""

    parts: dict[str, str] = field(factory=dict)
    configuration: Configuration | None = None


class ComposeError(ValueError):
    """A part that cannot be had, or new tokens without a vocabulary; `key` is where it is said, below `compose`."""

    def __init__(self, key: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.key = key


def compose_from(section: Compose, spec: Path, sources: Sources) -> dict[str, Any]:
    """The whole configuration of a spec's `hf.compose`, its sources read.

    Raises:
        ComposeError: a part cannot be had; see `compose`.
    """
    import specs  # data only; imported here because only this needs the folder

    shipped, parts = [Path(each) for each in specs.__path__], {}
    for name, source in section.parts.items():
        try:
            whole = read_part(source.partition("#")[0], spec, shipped, sources.configuration)
        except ComposeError as error:
            raise ComposeError(("parts", name), str(error)) from None
        parts[name] = section_of(name, source, whole)
    return compose(section, parts)


def compose(section: Compose, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The whole configuration; `parts` by name, each the section it becomes.

    Raises:
        ComposeError: there are new tokens, and no part `text_config` with a `vocab_size`.
    """
    whole: dict[str, Any] = {**section.own, **{name: dict(part) for name, part in parts.items()}}
    if not section.new_tokens:
        return whole
    rows = whole.get(TEXT, {}).get("vocab_size")
    if not isinstance(rows, int):
        raise ComposeError(("new_tokens",), f"there is no part {TEXT} with a vocab_size that tokens could be added to.")
    whole |= {name: rows + number for number, name in enumerate(section.new_tokens)}
    multiple = max(section.vocab_multiple, 1)
    whole[TEXT]["vocab_size"] = -(-(rows + len(section.new_tokens)) // multiple) * multiple
    return whole


def section_of(name: str, source: str, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a checkpoint's configuration is a part: the section after `#` of its source, or that of the same name.

    A configuration without such a section is the part itself.

    Raises:
        ComposeError: the section after `#` is not there.
    """
    _, _, wanted = source.partition("#")
    found = whole.get(wanted or name)
    if isinstance(found, Mapping):
        return found
    if wanted:
        raise ComposeError(("parts", name), f"the configuration of {source.partition('#')[0]} has no section {wanted}.")
    return whole


def read_part(source: str, spec: Path, shipped: list[Path], configuration: Configuration | None) -> Mapping[str, Any]:
    """The configuration that a source, without `#`, names.

    Args:
        source: a file or directory, relative to the spec or to the shipped ones, or what `configuration` takes.
        spec: file of the spec.
        shipped: folders of the shipped specs, whose files are in the plain form.
        configuration: reads checkpoints; None: every file is in the plain form, and nothing else is read.

    Raises:
        ComposeError: nothing is there, or no JSON object.
    """
    found = next((path for folder in (spec.parent, *shipped) if (path := folder / source).exists()), None)
    if configuration is not None and not (found is not None and any(found.is_relative_to(each) for each in shipped)):
        return configuration(source if found is None else str(found))
    if found is None or not found.is_file():
        raise ComposeError((), f"no file {source} beside this spec or among the shipped ones.")
    try:
        content = json.loads(found.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ComposeError((), f"{found}:{error.lineno}:{error.colno}: no JSON: {error.msg}.") from None
    if not isinstance(content, dict):
        raise ComposeError((), f"{found} holds no JSON object.")
    return content
