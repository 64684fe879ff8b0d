"""What the proving process leaves in a folder for the processes of a layout, and what those leave there."""

import json
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, evolve, frozen
from torch import Tensor

from adapters.prove.layouts.batches import GlobalBatch, MicroBatch
from adapters.prove.layouts.names import NamedLayout
from composer import Graph, dump, load
from composer.plans.layout import Layout

SPEC = "spec.yaml"
WEIGHTS = "weights"
ALONE = "alone.pt"
CASES = "cases.json"


@frozen
class Case:
    """One model under one layout."""

    variant: str
    """The model's folder; where there are several specs, the spec's name and a slash before its own."""
    named: NamedLayout

    @property
    def model(self) -> str:
        """The model's name within its spec."""
        return self.variant.rpartition("/")[2]

    @property
    def id(self) -> str:
        """Name of its files."""
        return f"{self.variant}-{self.named.name}".replace(" ", "_")


@frozen(eq=False)
class Alone:
    """What one process finds, by the name of the global batch: loss, gradients by Hugging Face name."""

    batches: dict[str, list[MicroBatch]]
    losses: dict[str, float]
    gradients: dict[str, dict[str, Tensor]]


def write_graph(graph: Graph, folder: Path) -> None:
    """The resolved spec of a variant."""
    folder.mkdir(parents=True)
    (folder / SPEC).write_text(dump(graph), encoding="utf-8")


def read_graph(folder: Path) -> Graph:
    """The graph of a variant."""
    return load(folder / SPEC)


def write_alone(
    folder: Path, batches: dict[str, GlobalBatch], found: dict[str, tuple[float, dict[str, Tensor]]]
) -> None:
    """What is found alone, and the micro-batches that ranks share out."""
    of_ranks = {name: batch.micro_batches for name, batch in batches.items()}
    losses = {name: loss for name, (loss, _) in found.items()}
    gradients = {name: gradient for name, (_, gradient) in found.items()}
    torch.save({"batches": of_ranks, "losses": losses, "gradients": gradients}, folder / ALONE)


def read_alone(folder: Path) -> Alone:
    """See `write_alone`."""
    return Alone(**torch.load(folder / ALONE, weights_only=True))


def found_file(folder: Path, case: Case, rank: int) -> Path:
    """Where a rank leaves what it found."""
    return folder / f"{case.id}.{rank}.json"


def is_complete(folder: Path, case: Case) -> bool:
    """Whether every rank of a case is done."""
    return all(found_file(folder, case, rank).exists() for rank in range(case.named.ranks))


def write_cases(folder: Path, cases: list[Case]) -> None:
    """What the processes have to run."""
    (folder / CASES).write_text(json.dumps([asdict(case) for case in cases]), encoding="utf-8")


def read_cases(folder: Path) -> list[Case]:
    """See `write_cases`."""
    return [_case(found) for found in json.loads((folder / CASES).read_text(encoding="utf-8"))]


def _case(found: dict[str, Any]) -> Case:
    named = NamedLayout(**found["named"])
    layout = Layout(**found["named"]["layout"])
    layout = evolve(layout, recompute_modules=tuple(layout.recompute_modules))
    return Case(found["variant"], evolve(named, layout=layout))
