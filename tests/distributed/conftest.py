"""Two ranks, and four, started once each; and what one process finds alone."""

from pathlib import Path

import pytest
import torch

from adapters.prove.layouts.launching import launch
from adapters.prove.layouts.running import collect, prepare
from tests.distributed.graphs import FAMILIES, VARIANTS, tiny
from tests.distributed.layouts import FAULTS, FOUR_RANKS, TWO_RANKS

WORKER = "tests.distributed.worker"


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ranks")
    for variant in (*VARIANTS, *FAMILIES):
        prepare(tiny(variant), folder / variant)
    return folder


@pytest.fixture(scope="session")
def two_ranks(folder):
    """The proofs of two ranks, by the id of the case."""
    launch(folder, 2, WORKER)
    return {case.id: collect(folder, case) for case in (*TWO_RANKS, *(case for case, _, _ in FAULTS))}


@pytest.fixture(scope="session")
def four_ranks(folder):
    launch(folder, 4, WORKER)
    return {case.id: collect(folder, case) for case in FOUR_RANKS}
