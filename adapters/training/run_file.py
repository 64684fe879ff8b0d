"""How a run was executed, beside its log: `run.yaml`, which `plan parallel --calibrate` reads."""

from pathlib import Path

from attrs import asdict, frozen

from adapters.training.problems import TrainingError
from adapters.training.settings import Training
from composer import SpecError
from composer.decode import DecodeError, reader_of
from composer.emit import emit
from composer.source import read_tree

RUN_FILE = "run.yaml"


@frozen
class Run:
    """What a log does not say of its steps; model: `content_hash` of the graph."""

    processes: int
    model: str
    settings: Training


def write_run(folder: Path, run: Run) -> None:
    """Write it into a run's folder; a run that goes on writes it anew."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = asdict(run, value_serializer=lambda _, __, value: list(value) if type(value) is tuple else value)
    (folder / RUN_FILE).write_text(emit(plain), encoding="utf-8")


def read_run(log: Path) -> Run:
    """Of the run that a log belongs to.

    Raises:
        TrainingError: there is no such file beside the log.
        SpecError: with all problems of its text at once, each with its line.
    """
    path = log.parent / RUN_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}. It says how the run of {log.name} was executed."
        raise TrainingError(f"{message} Give the log in the folder of a run of `vlm-composer train`.") from None
    tree, problems = read_tree(text, str(path))
    try:
        run: Run = reader_of(Run)(tree, ())
    except DecodeError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems, {str(path): text})
    return run
