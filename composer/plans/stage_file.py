"""Stages of training from a file of their own, in the words of a spec's `stages` section."""

from pathlib import Path

from attrs import field, frozen

from composer.decode import DecodeError, reader_of
from composer.errors import Problem, SpecError
from composer.graph import Graph
from composer.origins import Origins
from composer.source import read_tree
from composer.stages import FreezeStage


@frozen
class StageFile:
    """A file with stages."""

    stages: dict[str, FreezeStage] = field(
        metadata={"description": "Stages of training by name, and what trains in each."}
    )


def read_stages(path: Path) -> tuple[dict[str, FreezeStage], Origins]:
    """Stages, and where they are written.

    Raises:
        SpecError: with everything that is wrong with the text, each with its line; selectors are not looked at.
    """
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError([Problem(None, "", f"{name}: cannot be read: {error}.")]) from None
    tree, problems = read_tree(text, name)
    try:
        read: StageFile = reader_of(StageFile)(tree, ())
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {name: text})
    return read.stages, Origins(tree, {name: text})


def stages_of(graph: Graph, path: Path | None) -> tuple[dict[str, FreezeStage], Origins | None]:
    """The stages of a file, or of the spec without one.

    Raises:
        SpecError: something is wrong with the file, or there are no stages in either.
    """
    if path is not None:
        stages, origins = read_stages(path)
        if not stages:
            raise SpecError([Problem(origins.tree.location, "stages", "no stage is named.")], origins.sources)
        return stages, origins
    if not graph.stages:
        example = "stages: {align: {trains: [projector]}}"
        message = f"{graph.name} names no stages: add `{example}` to the spec, or give a file with it (--stages FILE)."
        raise SpecError([Problem(None, "", message)])
    return graph.stages, graph.origins
