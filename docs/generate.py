"""Write what the code itself says best: the reference, from the classes that specs are read into, and the picture.

Run it with `make docs`; a test compares the files with what this makes.
"""

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAliasType, Union, get_args, get_origin

import attrs

from adapters.training.settings import Training
from composer import load
from composer.edges import KINDS, Ref
from composer.registry import Port, components
from composer.schema import Document, HfDocument, InputDocument, NodeDocument, fields_by_key, merged_keys
from composer.stages import FreezeStage
from composer.views import to_svg
from docs.usage import SPECS, TERMS, said, sayable, with_most_ports

HERE = Path(__file__).parent
NAMES = {
    int: "int",
    float: "float",
    str: "text",
    bool: "bool",
    Any: "anything",
    types.NoneType: "null",
    Ref: "reference",
}
# Sections with a heading of their own further down the page.
LATER = {
    "inputs": "mapping to [input](#inputs)",
    "nodes": "mapping to [node](#nodes)",
    "edges": "list of [edge](#edges)",
    "stages": "mapping to [stage](#stages)",
}
HEAD = """\
# Spec reference

Written by `make docs` from the classes that specs are read into; do not edit.

A spec is a YAML file. Every key is listed here; any other is an error. Values are never converted: `"1e-4"` in quotes
is text, `1e-4` is a number, `on` is text.

## In every place

- `${hf.x.y}` is the value of the checkpoint's configuration, with its type. Inside longer text it is formatted in. In
  `{}` or `[]` it needs quotes.
- `when: hf.x.y` keeps the mapping it stands in only if the field is neither null, false, 0 nor empty. Also
  `not hf.x.y`, `hf.x.y == value` and `hf.x.y != value`.
- `--set a.b[2].c=value`, on the command line, overrides a value of the spec, or of the configuration
  (`--set hf.x.y=value`). The value is read as YAML.
"""

USAGE = """\
# Who says what

Written by `make docs` from the classes that specs are read into and from the {count} shipped specs; do not edit.

Edge kinds with their options (`data.pack` holds the pack operations, `position.rule` the position rules), mask terms,
components with their options, and the decoder's parts. Listed is what has a default or a choice: what every spec must
say is not, nor are words for "nothing is done". A spec counts with all configurations that it names; an option counts
where its value is not the default. Why what no spec or one spec says is there:
[0024](decisions/0024-smallness-of-the-language.md).
"""


def files() -> dict[str, str]:
    """Every generated file, by its name in this folder."""
    picture = to_svg(load(HERE.parent / "specs" / "gemma4_vl.yaml"))
    return {"spec-reference.md": page(), "who-says-what.md": usage(), "gemma4_vl.svg": picture.rstrip("\n") + "\n"}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *document(), *edges(), *mask_rules(), *nodes(), *settings()]).rstrip() + "\n"


def usage() -> str:
    """What the language can say, with the specs that say it."""
    rows = [f"| `{cell(name)}` | {users(said().get(name, ()))} |" for name in sayable()]
    return "\n".join([USAGE.format(count=len(SPECS)), "| what | specs |\n|---|---|", *rows]) + "\n"


def users(specs: tuple[str, ...]) -> str:
    """Names of specs; those of most would say nothing."""
    if len(specs) == len(SPECS):
        return "all"
    return ", ".join(specs) or "none"


def document() -> Iterator[str]:
    """The top level, and the sections that are the same in every spec."""
    yield from ("## Top level\n", doc(Document), *table(Document))
    yield from ("### hf\n", doc(HfDocument), *table(HfDocument, "hf"), *below(HfDocument, "hf"))
    yield from ("### inputs\n", "One mapping for each input. " + doc(InputDocument), *table(InputDocument))
    yield from ("### nodes\n", "One mapping for each node. " + doc(NodeDocument), *table(NodeDocument))
    yield from ("### stages\n", "One mapping for each stage. " + doc(FreezeStage), *table(FreezeStage))
    yield "`vlm-composer plan freeze` resolves them; see [selectors](planning-freeze.md#selectors).\n"


def edges() -> Iterator[str]:
    """One section for each edge kind."""
    yield "## Edges\n"
    yield "A list. `kind` says which of these an edge is.\n"
    for kind, edge in KINDS.items():
        ends = f"From {ports(edge.reads)} to {ports(edge.writes)}."
        yield from (f"### {kind}\n", doc(edge), ends + "\n", *table(edge, kind), *below(edge, kind))


def ports(port_types: tuple[str, ...]) -> str:
    """Port types as a sentence holds them."""
    return "any port" if port_types == ("any",) else f"a port of type {words(port_types)}"


def mask_rules() -> Iterator[str]:
    """Terms of the mask algebra."""
    yield "## Mask rules\n"
    yield "Which keys a query may attend to. `~` binds tightest, then `&`, then `|`; parentheses group.\n"
    yield "A rule is text, or a list of `{when: ..., rule: ...}` of which exactly one must hold.\n"
    yield "| term | allows |\n|---|---|"
    for term, rule in TERMS.items():
        yield f"| `{cell(term)}` | {cell(doc(rule))} |"
    yield ""


def nodes() -> Iterator[str]:
    """One section for each component, and below it the classes its configuration is made of."""
    yield "## Components\n"
    for component in components().values():
        yield f"### {component.name}\n"
        yield f"{doc(component.config).strip()} Role: {component.role}.\n"
        yield from table(component.config, component.name)
        yield from ports_of(component.name)
        yield from below(component.config, component.name)


def ports_of(component: str) -> Iterator[str]:
    """Its ports in the shipped spec where it has the most."""
    if component not in with_most_ports():
        return
    spec, found = with_most_ports()[component]
    yield f"Ports, as in `{spec}`. Words are dimensions that edges unify; keys of the section are their numbers.\n"
    yield "| port | | type | shape |\n|---|---|---|---|"
    for side, ends in (("in", found.inputs), ("out", found.outputs)):
        for port in ends.values():
            way = side if port.required else f"{side}, optional"
            yield f"| `{port.name}` | {way} | `{port.type}` | [{', '.join(sizes(port))}] |"
    yield ""


def sizes(port: Port) -> Iterator[str]:
    """Dimensions by name, or by the key that gives the number."""
    for size, key in zip(port.shape, port.origin or [""] * len(port.shape), strict=True):
        is_key = isinstance(size, int) and key and not key.startswith("inputs.")
        yield f"`{key}`" if is_key else str(size)


def settings() -> Iterator[str]:
    """What `vlm-composer train` reads besides a spec."""
    yield "## Training settings\n"
    yield "The second file of `vlm-composer train`; see [training](training.md). " + doc(Training)
    yield from table(Training, "training")
    yield from below(Training, "training")


def below(config: type, owner: str) -> Iterator[str]:
    """One section for each class that a configuration is made of."""
    for part in parts(config):
        yield from (f"#### {heading(part, owner)}\n", doc(part), *table(part, owner))


def parts(config: type) -> Iterator[type]:
    """The attrs classes below a configuration, each once, outermost first."""
    seen: dict[type, None] = {}
    waiting = [config]
    for cls in waiting:
        for attribute in fields_by_key(cls).values():
            new = [part for part in classes_in(attribute.type) if part not in seen]
            seen.update(dict.fromkeys(new))
            waiting += new
    yield from seen


def classes_in(annotation: Any) -> list[type]:
    """attrs classes inside a type."""
    if attrs.has(annotation) and annotation is not Ref:
        return [annotation]
    return [cls for argument in get_args(annotation) for cls in classes_in(argument)]


def table(cls: type, owner: str | None = None) -> Iterator[str]:
    """A row for each key."""
    rows = [
        f"| `{key}` | {type_of(attribute, owner)} | {default_of(attribute)} | "
        f"{cell(attribute.metadata.get('description', ''))} |"
        for key, attribute in fields_by_key(cls).items()
    ]
    rows += [
        f"| `{key}` | mapping | none | What all entries of `{shared_by}` have in common; merged under each. |"
        for key, shared_by in merged_keys(cls).items()
    ]
    if rows:
        yield "| key | type | default | |\n|---|---|---|---|"
        yield from rows
    yield ""


def type_of(attribute: "attrs.Attribute[Any]", owner: str | None) -> str:
    """A type as a reader of YAML thinks of it."""
    if choices := attribute.metadata.get("enum"):
        return words(choices)
    if attribute is fields_by_key(Document).get(attribute.name) and attribute.name in LATER:
        return LATER[attribute.name]
    return cell(name_of(attribute.type, owner))


def name_of(annotation: Any, owner: str | None) -> str:
    """The name of a type, with a link where it has a section of its own."""
    if isinstance(annotation, TypeAliasType):
        return "[mask rule](#mask-rules)" if annotation.__name__ == "Rule" else name_of(annotation.__value__, owner)
    if annotation in NAMES:
        return NAMES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return words(arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(name_of(argument, owner) for argument in arguments)
    if origin in (list, tuple):
        return f"list of {name_of(arguments[0], owner)}"
    if origin is dict:
        return f"mapping to {name_of(arguments[1], owner)}"
    if annotation is HfDocument:
        return "[hf](#hf)"
    assert owner is not None, annotation
    anchor = heading(annotation, owner).lower().replace(" ", "-").replace(".", "")
    return f"[{annotation.__name__}](#{anchor})"


def heading(part: type, owner: str) -> str:
    """A heading that no other component can have."""
    return f"{owner} {part.__name__}"


def default_of(attribute: "attrs.Attribute[Any]") -> str:
    """The default in YAML's words; `required` if there is none."""
    match attribute.default:
        case attrs.NOTHING:
            return "required"
        case attrs.Factory():  # type: ignore[misc]
            return "its defaults" if attribute.type and attrs.has(attribute.type) else "none"
        case None:
            return "null"
        case bool(value):
            return str(value).lower()
        case tuple():
            return "none"
        case value:
            return "empty" if value == "" else f"`{value}`".replace("\n", "\\n")


def words(names: tuple[str, ...] | list[str]) -> str:
    """Names as a sentence holds them."""
    return " or ".join(f"`{name}`" for name in names)


def doc(cls: type) -> str:
    """The first paragraph of the class's docstring; what follows there is for those who read the code."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()) + "\n"


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
