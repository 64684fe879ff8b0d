"""How a run was executed, beside its log: what a later plan needs to learn from its timings."""

from pathlib import Path

from attrs import asdict, frozen

from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from composer.decode import DecodeError, reader_of
from composer.emit import emit
from composer.errors import SpecError
from composer.source import read_tree

RUN_FILE = "run.yaml"


@frozen
class RunFile:
    """Processes that trained, and the settings with all flags of the command line."""

    processes: int
    settings: Training


def write_run(folder: Path, run: RunFile) -> None:
    """Into the run's folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    data = asdict(run, value_serializer=lambda _, __, value: list(value) if type(value) is tuple else value)
    (folder / RUN_FILE).write_text(emit(data), encoding="utf-8")


def read_run(folder: Path) -> RunFile:
    """From a run's folder.

    Raises:
        TrainingError: there is none.
        SpecError: with all problems of its text at once, each with its line.
    """
    path = folder / RUN_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}. The trainer writes it beside a run's log.") from error
    tree, problems = read_tree(text, str(path))
    try:
        run: RunFile = reader_of(RunFile)(tree, ())
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {str(path): text})
    return run
