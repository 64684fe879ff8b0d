"""A checkpoint that a shipped spec stands for: the spec itself, with what it becomes for this configuration."""

from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from adapters.init.draft import Draft
from adapters.init.inspection import TEXT, architecture_of
from adapters.init.writing import comment
from adapters.parity.variants import switches
from composer import Graph, load
from composer.interpolate import get_field


@frozen
class Shipped:
    """A spec file, the classes it stands for, and the text models it takes (none: any)."""

    path: Path
    architectures: tuple[str, ...]
    text: tuple[str, ...]


def shipped() -> tuple[Shipped, ...]:
    """What the installed specs stand for."""
    import specs

    found = []
    for path in sorted(Path(str(specs.__file__)).parent.glob("*.yaml")):
        section = yaml.safe_load(path.read_text(encoding="utf-8")).get("hf") or {}
        if classes := section.get("architecture"):
            known = (classes,) if isinstance(classes, str) else tuple(classes)
            found.append(Shipped(path, known, tuple(section.get("text") or ())))
    return tuple(found)


def known(config: dict[str, Any]) -> Shipped | None:
    """The shipped spec that stands for a plain configuration, its text model included."""
    architecture, text = architecture_of(config), (config.get(TEXT) or {}).get("model_type")
    return next(
        (each for each in shipped() if architecture in each.architectures and (not each.text or text in each.text)),
        None,
    )


def copy_of(spec: Shipped, config: dict[str, Any], name: str, file: str) -> Draft:
    """The shipped spec with a configuration of its own, and comments of what it becomes.

    Args:
        spec: which.
        config: the plain configuration.
        name: of the draft.
        file: name of the configuration beside it.

    Raises:
        SpecError: the spec does not take this configuration; says where.
    """
    graph = load(spec.path, hf=config)
    text = spec.path.read_text(encoding="utf-8")
    lines = [
        f"{comment(f'The shipped spec {spec.path.stem}, with {file} as its default configuration. It becomes:')}",
        *(f"#   {line}\n" for line in _sizes(graph)),
        *(f"#   {line}\n" for line in _switches(text, config)),
    ]
    return Draft(name, "".join(lines) + _with_default(text, file), config, shipped=spec.path.stem)


def _sizes(graph: Graph) -> list[str]:
    decoder = graph.decoder().config
    sizes, order = decoder.config, decoder.layers.order
    kinds = ", ".join(f"{order.count(kind)} {kind}" for kind in dict.fromkeys(order))
    nodes = ", ".join(
        f"{node.name} ({getattr(node.config, 'out_dim', sizes.hidden_size)})" for node in graph.nodes.values()
    )
    return [
        f"nodes and the width of what they make: {nodes}",
        f"decoder: {sizes.num_layers} layers ({kinds}), {sizes.vocab_size} words, {sizes.max_positions} positions",
    ]


def _switches(text: str, config: dict[str, Any]) -> list[str]:
    """What the fields are that conditions (`when`) of the spec read."""
    found = []
    for switch in switches(text):
        value = get_field(switch.field, config)
        compared = f", compared with {', '.join(map(str, switch.literals))}" if switch.literals else ""
        found.append(f"switch {switch.field} is {value}{compared}")
    return found


def _with_default(text: str, file: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(f"  default: {file}\n" if line.startswith("  default:") else line for line in lines)
