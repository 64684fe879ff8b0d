"""A spec file into a checked graph."""

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from composer.checks import findings
from composer.composed_config import ComposeError, Configuration, Sources, compose_from
from composer.decode import Collector, DecodeError, reader_of
from composer.document import Reading, read_document
from composer.errors import Location, Problem, SpecError
from composer.finding import Finding
from composer.graph import Compose, Graph
from composer.interpolate import interpolate
from composer.origins import Origins, renumber
from composer.overrides import Override, apply_to_hf, apply_to_tree, parse_overrides
from composer.path import format_path
from composer.source import read_tree
from composer.suggestion import suggestion
from composer.tree import Tree
from composer.when import dropped, prune


def load(
    path: str | Path,
    *,
    hf: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    parts: Mapping[str, str] = {},
    configuration: Configuration | None = None,
    idle_overrides: bool = False,
) -> Graph:
    """Read and check a spec.

    Args:
        path: the YAML file; its name, as given here, is what errors quote.
        hf: the plain configuration of a checkpoint; None: the spec's own `hf.config`, `hf.compose` or `hf.default`.
        overrides: `path=value` each, see `composer.overrides`.
        parts: sources in place of those of `hf.compose.parts`, by name.
        configuration: reads the plain configuration of a directory or hub id among the sources.
        idle_overrides: whether overrides may be of sections that this configuration drops (`when`).

    Raises:
        SpecError: everything that is wrong with it, sorted by line.
    """
    text, sources = _read(Path(path), str(path)), Sources(dict(parts), configuration)
    return loads(text, file=str(path), hf=hf, overrides=overrides, sources=sources, idle_overrides=idle_overrides)


def loads(
    text: str,
    *,
    file: str = "<text>",
    hf: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    sources: Sources = Sources(),  # noqa: B008 (frozen)
    idle_overrides: bool = False,
) -> Graph:
    """Read and check a spec given as text; `hf.default` is relative to the folder of `file`, which need not exist.

    Raises:
        SpecError: everything that is wrong with it, sorted by line.
    """
    with _without_garbage_collection():
        source = _Source(file, text, sources)
        tree, found = read_tree(text, file)
        source.problems += found
        graph = _resolve(source, tree, hf, overrides, idle_overrides=idle_overrides)
    if source.problems:
        raise source.error()
    return graph


@define
class _Source:
    file: str
    text: str
    sources: Sources
    problems: list[Problem] = field(factory=list)

    def error(self) -> SpecError:
        # A shared mapping's mistake shows in every entry it is merged into: once is enough.
        once = {(problem.location, problem.message): problem for problem in reversed(self.problems)}
        return SpecError(once.values(), {self.file: self.text})


def _resolve(
    source: _Source, tree: Tree, hf: Mapping[str, Any] | None, texts: Sequence[str], *, idle_overrides: bool
) -> Graph:
    if not tree.is_mapping:
        source.problems.append(Problem(tree.location, "", "a spec is a mapping, with the keys spec, name, nodes, ..."))
        raise source.error()
    overrides, found = parse_overrides(texts)
    source.problems += found
    tree, found = apply_to_tree(tree, overrides)
    source.problems += found
    config = _hf_config(source, tree, hf, overrides)
    if config is not None:
        section = tree.value["hf"]
        section.value["config"] = Tree(config, section.file, section.line, section.column, hf="hf")
    source.problems += [] if idle_overrides else _idle(tree, config, overrides)
    tree, found = prune(tree, config)
    source.problems += found
    tree, found = interpolate(tree, config)
    source.problems += found
    collector = Collector()
    reading = read_document(tree, collector)
    reading = evolve(reading, graph=evolve(reading.graph, hf_config=config or {}))
    source.problems += collector.problems
    origins = Origins(tree, {source.file: source.text}, {c.path: c.value.file for c in overrides if c.on_hf})
    source.problems += origins.problems([*_also_findings(source, reading.graph), *_findings(reading)])
    return evolve(reading.graph, origins=origins)


def _idle(tree: Tree, config: dict[str, Any] | None, overrides: Sequence[Override]) -> Iterator[Problem]:
    """Overrides that change nothing: what they are in is dropped, and not by themselves."""
    for override in overrides:
        of_spec = not override.on_hf and override.path[-1] != "when"
        if of_spec and (found := dropped(tree, config, override.path[:-1])) is not None:
            section, condition = found
            message = f"it has no effect: {format_path(section)} is left out here (when: {condition})."
            yield Problem(override.value.location, "", message)


def _also_findings(source: _Source, graph: Graph) -> Iterator[Finding]:
    for number, name in enumerate(graph.hf.also if graph.hf else ()):
        if maybe_config_file(source.file, name) is None:
            yield Finding(f"hf.also[{number}]", f"no file {name} beside this spec or among the shipped ones.")


def _findings(reading: Reading) -> Iterator[Finding]:
    if not reading.checkable:
        return
    for finding in findings(reading.graph):
        if not reading.doubts(finding):
            yield renumber(finding, reading.edge_numbers)


def _hf_config(
    source: _Source, tree: Tree, given: Mapping[str, Any] | None, overrides: Sequence[Override]
) -> dict[str, Any] | None:
    """The configuration that a spec reads, with overrides; None for a spec that reads none."""
    section = tree.child("hf")
    changes = [override for override in overrides if override.on_hf]
    if section is None or section.value is None:
        if given is not None:
            message = "a configuration is given, but the spec has no hf section that would read it."
            source.problems.append(Problem(tree.location, "hf", message))
        source.problems += [
            Problem(change.value.location, "hf", "the spec has no hf section, so there is nothing to set.")
            for change in changes
        ]
        return None
    if not section.is_mapping:
        problem = Problem(section.location, "hf", "a mapping is expected: the architecture and its configuration.")
        raise SpecError([*source.problems, problem], {source.file: source.text})
    inline, default, composed = (section.child(key) for key in ("config", "default", "compose"))
    parts = source.sources.parts
    if parts and (given is not None or inline is not None or composed is None or not composed.is_mapping):
        message = "parts of a configuration are given, but this one is not put together from parts (hf.compose)."
        raise SpecError([*source.problems, Problem(section.key_location, "hf", message)], {source.file: source.text})
    if given is not None:
        config = deepcopy(dict(given))
    elif inline is not None and inline.is_mapping:
        # Interpolation finds nothing to read here, but turns $${ back into ${.
        inline, found = interpolate(inline, None, ("hf", "config"))
        source.problems += found
        config = inline.plain()
    elif composed is not None and composed.is_mapping:
        config = _composed(source, section, composed)
    elif default is not None and isinstance(default.value, str):
        config = _default_config(source, default)
    else:
        message = "no configuration: give one (--hf), or name a file (default: configs/model.json)."
        raise SpecError([*source.problems, Problem(section.key_location, "hf", message)], {source.file: source.text})
    config, found = apply_to_hf(config, changes)
    source.problems += found
    return config


def _composed(source: _Source, section: Tree, composed: Tree) -> dict[str, Any]:
    """The configuration that `hf.compose` describes; its sources become those that were given."""
    named = composed.child("parts")
    if named is not None and named.is_mapping:
        for name, given in source.sources.parts.items():
            if name not in named.value:
                message = f"there is no part {name}.{suggestion(name, named.value)}"
                raise SpecError([*source.problems, Problem(named.location, "hf.compose.parts", message)])
            named.value[name] = named.value[name].with_value(given)
    try:
        return compose_from(reader_of(Compose)(composed, ("hf", "compose")), Path(source.file), source.sources)
    except DecodeError as error:
        found = error.problems
    except ComposeError as error:
        place = composed
        for key in error.key:
            place = place.child(key) or place
        found = [Problem(place.location, format_path(("hf", "compose", *error.key)), str(error))]
    raise SpecError([*source.problems, *found], {source.file: source.text})


def _default_config(source: _Source, default: Tree) -> dict[str, Any]:
    file = maybe_config_file(source.file, default.value)
    if file is None:
        message = f"no file {default.value} beside this spec or among the shipped ones."
    else:
        try:
            config = json.loads(_read(file, str(file)))
            if isinstance(config, dict):
                return config
            message = f"{file} holds no JSON object."
        except json.JSONDecodeError as error:
            message = f"{file}:{error.lineno}:{error.colno}: no JSON: {error.msg}."
    problem = Problem(default.location, "hf.default", message)
    raise SpecError([*source.problems, problem], {source.file: source.text})


def maybe_config_file(spec: str | Path, name: str) -> Path | None:
    """A file that a spec's `hf` section names: beside the spec, or among the shipped ones."""
    import specs  # data only; imported here because only this needs the folder

    folders = [Path(spec).parent, *map(Path, specs.__path__)]
    return next((found for folder in folders if (found := folder / name).is_file()), None)


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}."
        raise SpecError([Problem(Location(name, 1, 1), "", message)]) from None
    except OSError as error:
        raise SpecError([Problem(None, "", f"{name}: cannot be read: {error.strerror}.")]) from None


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Reading allocates many objects and frees none: collecting between would be a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
