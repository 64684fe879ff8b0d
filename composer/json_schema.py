"""JSON Schema of specs, made from the classes that read them: editors complete and check with it.

It is a little wider than the language: it cannot evaluate `${...}` or `when`, so it allows the first wherever a value
may stand and the second in every mapping, and cannot see whether names, dimensions and masks fit.
"""

import types
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

import attrs

from composer import masks
from composer.edges import KINDS, Edge, Ref
from composer.graph import Input, Node
from composer.registry import components
from composer.schema import VERSION, Document, InputDocument, NodeDocument, fields_by_key, merged_keys

type Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", types.NoneType: "null"}
_COPIED = ("enum", "minimum", "examples")
_FROM_CONFIG = {"$ref": "#/$defs/from_configuration"}
_WHEN = {"$ref": "#/$defs/when"}


def json_schema() -> Schema:
    """The JSON Schema (2020-12) of a spec, with every registered component and every edge kind."""
    return _Writer().document()


class _Writer:
    """Writes each class once, under `$defs`; `partial` ones, to be merged with a sibling, require nothing."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {
            "from_configuration": {
                "type": "string",
                "pattern": r"\$\{",
                "description": "${hf.field}: the value, with its type, of a field of the checkpoint's configuration.",
            },
            "when": {
                "type": "string",
                "description": "Keep this mapping only if: hf.field, not hf.field, hf.field == value, "
                "hf.field != value, or value in hf.field.",
            },
        }

    def document(self) -> Schema:
        body = self.section(Document, partial=False)
        body["properties"]["spec"] = {"const": VERSION, "description": "Version of the language."}
        del body["properties"]["when"]
        return {"$schema": DIALECT, "title": "vlm-composer spec", **body, "$defs": dict(sorted(self.defs.items()))}

    def section(self, cls: type, *, partial: bool, beside: Schema | None = None) -> Schema:
        """The schema of a class's mapping; `beside` are properties that belong to somebody else."""
        known = fields_by_key(cls)
        shared = merged_keys(cls)
        properties = dict(beside or {})
        for key, attribute in known.items():
            merged = partial or "merged_over" in attribute.metadata
            properties[key] = self.field(attribute, partial=merged)
        for name, key in shared.items():
            entry = get_args(known[key].type)[-1]
            about = {"description": f"What all entries of `{key}` have in common; each is merged over it."}
            properties[name] = self.value(entry, partial=True) | about
        required = [key for key, attribute in known.items() if attribute.default is attrs.NOTHING]
        return {
            "type": "object",
            "description": (cls.__doc__ or "").strip().split("\n", maxsplit=1)[0],
            "properties": properties | {"when": _WHEN},
            "additionalProperties": False,
            **({} if partial else {"required": [*(beside or {}), *required]}),
        }

    def field(self, attribute: "attrs.Attribute[Any]", *, partial: bool) -> Schema:
        extra = {key: attribute.metadata[key] for key in _COPIED if key in attribute.metadata}
        schema = self.value(attribute.type, partial=partial, **extra)
        about = {"description": attribute.metadata.get("description", "")}
        if isinstance(attribute.default, bool | int | float | str):
            about["default"] = attribute.default
        return schema | about

    def value(self, expected: Any, *, partial: bool, **extra: Any) -> Schema:
        """The schema of a type, or `${...}` in its place."""
        schema = self.written(expected, partial=partial) | extra
        if schema.get("type") == "string" and not extra.get("enum"):
            return schema
        choices = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        return {"anyOf": [*choices, *([] if _FROM_CONFIG in choices else [_FROM_CONFIG])]}

    def written(self, expected: Any, *, partial: bool) -> Schema:
        """The schema of a type, written out."""
        if expected is Node or expected is Edge or expected is Input or expected is masks.Rule:
            return self.reference(expected.__name__.lower(), partial=False)
        if isinstance(expected, TypeAliasType):
            return self.written(expected.__value__, partial=partial)
        if expected is Any:
            return {}
        if expected is Ref:
            return {"type": "string"}
        if expected in _SCALARS:
            return {"type": _SCALARS[expected]}
        if attrs.has(expected):
            return self.reference(expected, partial=partial)
        origin, args = get_origin(expected), get_args(expected)
        if origin is Literal:
            return {"enum": list(args)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.written(member, partial=partial) for member in args]}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.value(args[1], partial=partial)}
        return {"type": "array", "items": self.value(args[0], partial=partial)}

    def reference(self, what: Any, *, partial: bool) -> Schema:
        named = isinstance(what, str)
        name = what if named else f"{what.__module__}.{what.__qualname__}" + (".partial" if partial else "")
        if name not in self.defs:
            self.defs[name] = {}  # stands while a class that holds itself is written
            self.defs[name] = getattr(self, name)() if named else self.section(what, partial=partial)
        return {"$ref": f"#/$defs/{name}"}

    def input(self) -> Schema:
        return self.section(InputDocument, partial=False)

    def node(self) -> Schema:
        head = self.section(NodeDocument, partial=False)["properties"]
        kinds = []
        for name, component in sorted(components().items()):
            beside = {"component": {"const": name, "description": head["component"]["description"]}}
            body = self.section(component.config, partial=False, beside=beside)
            for key in ("weights", "checkpoint"):
                body["properties"].setdefault(key, head[key])
            kinds.append(body)
        return {"oneOf": kinds}

    def edge(self) -> Schema:
        about = "What the edge does."
        return {
            "oneOf": [
                self.section(cls, partial=False, beside={"kind": {"const": kind, "description": about}})
                for kind, cls in KINDS.items()
            ]
        }

    def rule(self) -> Schema:
        alternative = {
            "type": "object",
            "properties": {"rule": {"type": "string"}, "when": _WHEN},
            "required": ["rule"],
            "additionalProperties": False,
        }
        return {
            "description": "A mask rule, or alternatives of which exactly one holds.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": alternative}],
        }
