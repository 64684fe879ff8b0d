import re

import attrs
import jsonschema
import pytest
import yaml

from composer import load
from composer.dump import dump
from composer.edges import KINDS
from composer.json_schema import json_schema
from composer.registry import components
from composer.schema import Document
from tests.composer.specs import GEMMA4, SHIPPED, small, written

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def errors(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(plain(text))]


def plain(text: str) -> object:
    from composer.source import parse

    return parse(text, "x.yaml").plain()


def test_it_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_and_their_dumps_validate(path) -> None:
    assert errors(path.read_text(encoding="utf-8")) == []
    assert errors(dump(load(path))) == []


def test_small_spec_validates() -> None:
    assert errors(written(small())) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in_dim: 32", "in_dmi: 32"),
        ("in_dim: 32", "in_dim: wide"),
        ("component: projector.hf_module", "component: projector.none"),
        ("kind: scatter", "kind: scater"),
        ("spec: 1", "spec: 2"),
        ("norms: pre", "norms: post"),
        ("mode: add", "mode: subtract"),
        ("mode: add", "mod: add"),
        ("name: small", "nom: small"),
        ("optional: true", 'optional: "yes"'),
    ],
)
def test_mistakes_an_editor_should_see(old: str, new: str) -> None:
    text = written(small())
    assert old in text
    assert errors(text.replace(old, new, 1)) != []


def test_every_component_edge_kind_and_field_is_described() -> None:
    defs = SCHEMA["$defs"]
    assert {body["properties"]["component"]["const"] for body in defs["node"]["oneOf"]} == set(components())
    assert {body["properties"]["kind"]["const"] for body in defs["edge"]["oneOf"]} == set(KINDS)
    assert set(SCHEMA["properties"]) == {field.name for field in attrs.fields(Document)}
    bare = [
        f"{name}.{key}"
        for name, section in all_sections()
        for key, field in section["properties"].items()
        if key != "when" and not field.get("description")
    ]
    assert bare == []


def all_sections():
    yield "spec", SCHEMA
    for name, section in SCHEMA["$defs"].items():
        for body in section.get("oneOf", [section]):
            if "properties" in body:
                yield name, body


def test_yaml_of_other_readers_agrees() -> None:
    """A dump means the same to a stock YAML reader, except for floats, which it reads after YAML 1.1."""
    text = dump(load(GEMMA4))
    stock = yaml.safe_load(re.sub(r": (\d)(e-\d+)", r": \1.0\2", text))
    assert stock == plain(text)
