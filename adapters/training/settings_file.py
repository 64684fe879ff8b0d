"""Settings from a YAML file, read like a spec: positions, did-you-mean, no coercion."""

from pathlib import Path

from attrs import asdict, evolve

from adapters.training.findings import findings
from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from composer import SpecError
from composer.decode import DecodeError, reader_of
from composer.emit import emit
from composer.errors import Problem
from composer.path import parse_path
from composer.source import read_tree


def load_settings(path: Path) -> Training:
    """Read a settings file; a freeze plan's path becomes one from here.

    Raises:
        TrainingError: the file cannot be read.
        SpecError: with all problems of its text at once, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}.") from error
    settings = parse_settings(text, str(path))
    if settings.freeze_plan is not None:
        settings = evolve(settings, freeze_plan=str(path.parent / settings.freeze_plan))
    return settings


def parse_settings(text: str, file: str) -> Training:
    """Settings from YAML text; `file` is the name that problems carry.

    Raises:
        SpecError: with all problems at once, each with its line.
    """
    tree, problems = read_tree(text, file)
    try:
        settings: Training = reader_of(Training)(tree, ())
        problems += [Problem(tree.locate(parse_path(where)), where, message) for where, message in findings(settings)]
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {file: text})
    return settings


def settings_text(settings: Training) -> str:
    """YAML text that `parse_settings` reads back to the same settings."""
    return emit(asdict(settings, value_serializer=lambda _, __, value: list(value) if type(value) is tuple else value))
