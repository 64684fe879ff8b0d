"""Every edge kind, pack operation, component and decoder part is used by a shipped spec, or listed with a reason."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import pytest

from components.language.gpt_declaration import Gpt
from composer import Graph, load
from composer.edges import KINDS
from composer.edges.pack import Pack
from composer.load import maybe_config_file
from composer.registry import components
from composer.schema import fields_by_key

ROOT = Path(__file__).resolve().parents[1]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
PAGE = ROOT / "docs" / "decisions" / "0024-smallness-of-the-language.md"
NOBODY, ONE = "Used by no shipped spec", "Used by one family"
OFF = ("none", "default", "plain", "replace")


def graphs(spec: Path) -> Iterator[Graph]:
    """A spec with each of the configurations that it names."""
    graph = load(spec)
    yield graph
    for name in graph.hf.also if graph.hf else ():
        file = maybe_config_file(spec, name)
        assert file is not None
        yield load(spec, hf=json.loads(file.read_text(encoding="utf-8")))


def said(value: Any, path: str) -> Iterator[str]:
    """`path` of every field of a section that is not at its default, and `path=word` of every word."""
    for key, attribute in fields_by_key(type(value)).items():
        found = getattr(value, attribute.name)
        default = attribute.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        here = place(path, key)
        if isinstance(found, str) and words(attribute.type):
            yield f"{here}={found}"
        elif found != default:
            yield here
        for item in found.values() if isinstance(found, dict) else [found]:
            if attrs.has(type(item)):
                yield from said(item, here)


def sayable(cls: type, path: str) -> Iterator[str]:
    """The same for everything that a section could say."""
    for key, attribute in fields_by_key(cls).items():
        here = place(path, key)
        if chosen := words(attribute.type):
            yield from (f"{here}={word}" for word in chosen if word not in OFF)
        elif attribute.default is not attrs.NOTHING:
            yield here
        for part in classes(attribute.type):
            yield from sayable(part, here)


def place(path: str, key: str) -> str:
    """A feed-forward half is the same part in a layer kind and by itself."""
    return f"{path}.{key}".replace("layers.ffns", "layers.kinds.ffn")


def words(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(word for word in get_args(annotation) if isinstance(word, str))
    return ()


def classes(annotation: Any) -> list[type]:
    if attrs.has(annotation):
        return [annotation]
    return [cls for argument in get_args(annotation) for cls in classes(argument)]


@pytest.fixture(scope="module")
def used() -> dict[str, set[str]]:
    """What specs say, with the specs that say it."""
    found: dict[str, set[str]] = {}
    for spec in SPECS:
        for graph in graphs(spec):
            here = {f"edge {edge.kind}" for edge in graph.edges}
            here |= {f"component {node.component}" for node in graph.nodes.values()}
            packs = [operation for edge in graph.edges for operation in getattr(edge, "pack", ())]
            here |= {f"pack {key}" for each in packs for key in fields_by_key(Pack) if getattr(each, key) is not None}
            here |= set(said(graph.decoder().config, "decoder"))
            for name in here:
                found.setdefault(name, set()).add(spec.stem)
    return found


def language() -> set[str]:
    edges = {f"edge {kind}" for kind in KINDS} | {f"pack {key}" for key in fields_by_key(Pack)}
    own = {name for name, each in components().items() if each.implementation.startswith("components.")}
    return edges | {f"component {name}" for name in own} | set(sayable(Gpt, "decoder"))


def listed(heading: str) -> set[str]:
    """What a table of the page has a reason for."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    rows = re.findall(r"^\| (`.+`) \| .+ \|$", rest.partition("\n## ")[0], re.MULTILINE)
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def test_what_no_spec_uses_has_a_reason(used: dict[str, set[str]]) -> None:
    assert sorted(language() - used.keys() - listed(NOBODY)) == []


def test_what_one_family_uses_has_a_reason(used: dict[str, set[str]]) -> None:
    alone = {name for name, specs in used.items() if len(specs) == 1} & language()
    assert sorted(alone - listed(ONE)) == []


def test_no_reason_is_left_over(used: dict[str, set[str]]) -> None:
    assert sorted(listed(NOBODY) & used.keys()) == []
    assert sorted((listed(NOBODY) | listed(ONE)) - language()) == []


def test_every_edge_kind_is_in_the_first_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"| `{kind}` |" not in text] == []
