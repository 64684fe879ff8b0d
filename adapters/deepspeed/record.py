"""What a checkpoint of DeepSpeed says about itself, so that another run can say why it cannot read it. No deepspeed.

spec.yaml        the resolved spec
deepspeed.json   engine, ZeRO stage, ranks, precision
"""

import json
from pathlib import Path

from attrs import asdict, frozen

from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.spec_difference import differences
from composer import Graph, dump

SPEC, RECORD = "spec.yaml", "deepspeed.json"


@frozen
class Record:
    """What a run must have in common with the one that saved."""

    zero_stage: int
    ranks: int
    precision: str
    engine: str = "deepspeed"


def is_recorded(folder: Path) -> bool:
    """Whether a folder is a checkpoint of DeepSpeed."""
    return (folder / RECORD).is_file()


def write(folder: Path, graph: Graph, record: Record) -> None:
    """Describe the model and the run in a folder that is being saved."""
    (folder / SPEC).write_text(dump(graph), encoding="utf-8")
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")


def check(folder: Path, graph: Graph, record: Record) -> None:
    """Compare a checkpoint with the run that is to go on from it.

    Raises:
        CheckpointError: it is none of DeepSpeed, or was saved by another kind of run or of another model; says all that
            differs.
    """
    if not is_recorded(folder):
        raise CheckpointError(
            folder, [f"no {RECORD}: not a checkpoint of DeepSpeed; resume with the `engine` that saved it"]
        )
    stored, own = json.loads((folder / RECORD).read_text(encoding="utf-8")), asdict(record)
    problems = [
        f"{name}: the checkpoint has {stored.get(name)}, this run {value}"
        for name, value in own.items()
        if stored.get(name) != value
    ]
    if problems:
        problems.append("DeepSpeed reads a checkpoint with the same ZeRO stage and precision, on as many ranks")
    if changed := differences((folder / SPEC).read_text(encoding="utf-8"), graph):
        problems += ["is of another model", *changed]
    if problems:
        raise CheckpointError(folder, problems)
