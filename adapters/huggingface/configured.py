"""A spec with the configuration that somebody names: one checkpoint's, or some parts' of a composed one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.huggingface.decoder_names import names_findings
from composer import Graph, load
from composer.errors import SpecError

_PART = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<source>.+)")


def load_configured(
    spec: str | Path, hf: str | Path | dict[str, Any] | None = None, overrides: Sequence[str] = ()
) -> Graph:
    """`composer.load`, able to read checkpoints.

    Args:
        spec: a spec file.
        hf: a checkpoint (directory, config.json, hub id or content) whose configuration replaces the spec's own, or
            `part=checkpoint`, several with commas between, for parts of a spec that is put together (`hf.compose`).
        overrides: `path=value`, as for `composer.load`.

    Raises:
        HfConfigError: nothing is there, or it is no configuration.
        SpecError: the spec has problems.
    """
    # Specs in the plain form are checked in a fraction of the time that reading checkpoints takes to import.
    parts = named_parts(hf) if isinstance(hf, str) else {}
    if hf is None or parts:
        return _with_known_names(load(spec, overrides=overrides, parts=parts, configuration=_plain))
    return _with_known_names(load(spec, hf=_plain(hf), overrides=overrides))


def _with_known_names(graph: Graph) -> Graph:
    """What `names` of a decoder may say is known here, and not where specs are read."""
    if graph.origins is not None and (found := names_findings(graph)):
        raise SpecError(graph.origins.problems(found), graph.origins.sources)
    return graph


def named_parts(text: str) -> dict[str, str]:
    """Sources by part, of `part=source,part=source`; what exists is named absolutely. Empty for anything else."""
    found = [_PART.fullmatch(each.strip()) for each in text.split(",")]
    return {match["name"]: _absolute(match["source"]) for match in found if match} if all(found) else {}


def _absolute(source: str) -> str:
    place, mark, section = source.partition("#")
    path = Path(place).expanduser()
    return f"{path.resolve() if path.exists() else place}{mark}{section}"


def _plain(source: Any) -> dict[str, Any]:
    from adapters.huggingface.config import plain

    return plain(str(Path(source).expanduser()) if isinstance(source, str) else source)
