"""What of a spec depends on the checkpoint's configuration, and tiny configurations on both sides of each switch."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from adapters.parity.tiny import shrink
from composer.interpolate import get_field
from composer.path import parse_path

AS_CONFIGURED = "as configured"


@frozen
class Variant:
    """A tiny plain configuration, named by what was switched off in it."""

    name: str
    hf_config: dict[str, Any]


def variants(spec: str | Path, hf_config: dict[str, Any]) -> tuple[Variant, ...]:
    """The configuration itself, and one variant for each field of a `when:` in the spec, with that field off.

    Args:
        spec: a spec file.
        hf_config: the plain configuration of a checkpoint, of any size.

    A field that is already off stays off: what it would need to be on is not in the configuration.
    """
    tiny = shrink(hf_config)
    found = [Variant(AS_CONFIGURED, tiny)]
    for name in switches(Path(spec).read_text(encoding="utf-8")):
        value = get_field(name, tiny)
        if value:
            found.append(_switched_off(tiny, name, off=False if isinstance(value, bool) else None))
    return tuple(found)


def switches(text: str) -> tuple[str, ...]:
    """The `hf` fields that the conditions of a spec read, each once, in the order of the spec."""
    words = (word for condition in _conditions(yaml.safe_load(text)) for word in condition.split())
    return tuple(dict.fromkeys(word for word in words if word.startswith("hf.")))


def _conditions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("when"), str):
            yield value["when"]
        children = list(value.values())
    else:
        children = value if isinstance(value, list) else []
    for child in children:
        yield from _conditions(child)


def _switched_off(tiny: dict[str, Any], name: str, *, off: bool | None) -> Variant:
    changed = deepcopy(tiny)
    *parents, last = parse_path(name)[1:]
    level: Any = changed
    for step in parents:
        level = level[step]
    level[last] = off
    return Variant(f"{last}: {'null' if off is None else 'false'}", changed)
