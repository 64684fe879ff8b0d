"""What of a spec depends on the checkpoint's configuration, and tiny configurations on both sides of each switch."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from adapters.parity.tiny import shrink
from composer import Graph
from composer.interpolate import get_field
from composer.load import maybe_config_file
from composer.path import parse_path
from composer.source import scalar

AS_CONFIGURED = "as configured"
OTHER_CONFIGURATIONS = (".model_type", ".rope_type")


@frozen
class Variant:
    """A tiny plain configuration, named by what was switched in it."""

    name: str
    hf_config: dict[str, Any]


@frozen
class Switch:
    """A field that conditions of a spec read, and what they compare it with."""

    field: str
    literals: tuple[Any, ...]

    def other(self, value: Any) -> Any:
        """What to give the field instead of `value` so that a condition turns around; `value` if there is nothing.

        A field that is off stays off: what it would need to be on is not in the configuration. A number that is
        compared with itself becomes one less; other words are those that the spec compares with.
        """
        compared = [literal for literal in self.literals if literal != value]
        if compared:
            return compared[0]
        if not value:
            return value
        if isinstance(value, bool) or not self.literals:
            return False if isinstance(value, bool) else None
        return value - 1 if isinstance(value, int) else None


def variants(spec: str | Path, hf_config: dict[str, Any]) -> tuple[Variant, ...]:
    """The configuration itself, and one variant for each field of a `when:` in the spec, turned the other way.

    Args:
        spec: a spec file.
        hf_config: the plain configuration of a checkpoint, of any size.
    """
    tiny = shrink(hf_config)
    found = [Variant(AS_CONFIGURED, tiny)]
    for switch in switches(Path(spec).read_text(encoding="utf-8")):
        value = get_field(switch.field, tiny)
        if (other := switch.other(value)) != value:
            found.append(_switched(tiny, switch.field, other))
    return tuple(found)


def all_variants(spec: str | Path, graph: Graph, *, given: bool) -> tuple[Variant, ...]:
    """`variants` of the configuration of a graph, and the spec's other configurations as they are.

    Args:
        spec: the file that `graph` was read from.
        graph: of a configuration of any size.
        given: whether that was asked for by the caller: then the spec's other ones are left out.
    """
    also = () if given or graph.hf is None else graph.hf.also
    return (*variants(spec, graph.hf_config), *(_also(spec, name) for name in also))


def _also(spec: str | Path, name: str) -> Variant:
    file = maybe_config_file(spec, name)
    assert file is not None, f"{name}: it was there when the spec was read"
    return Variant(Path(name).stem, shrink(json.loads(file.read_text(encoding="utf-8"))))


def switches(text: str) -> tuple[Switch, ...]:
    """The `hf` fields that the conditions of a spec read, each once, in the order of the spec.

    `model_type` and `rope_type` are none: another one is another configuration, see `hf.also`.
    """
    read: dict[str, dict[Any, None]] = {}
    for condition in _conditions(yaml.safe_load(text)):
        words = condition.split()
        for field in (word for word in words if word.startswith("hf.") and not word.endswith(OTHER_CONFIGURATIONS)):
            literals = read.setdefault(field, {})
            if len(words) == 3 and words[1] in ("==", "!="):
                literals[scalar(words[2])] = None
    return tuple(Switch(field, tuple(literals)) for field, literals in read.items())


def _conditions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("when"), str):
            yield value["when"]
        children = list(value.values())
    else:
        children = value if isinstance(value, list) else []
    for child in children:
        yield from _conditions(child)


def _switched(tiny: dict[str, Any], name: str, value: Any) -> Variant:
    changed = deepcopy(tiny)
    *parents, last = parse_path(name)[1:]
    level: Any = changed
    for step in parents:
        level = level[step]
    level[last] = value
    return Variant(f"{last}: {json.dumps(value).strip('"')}", changed)
