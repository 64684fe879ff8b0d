"""Two ranks, and four, started once each; and what one process finds alone."""

from pathlib import Path

import pytest
import torch

from adapters.prove.layouts.job import write_cases
from adapters.prove.layouts.launching import launch
from adapters.prove.layouts.running import collect, prepare
from tests.distributed.graphs import FAMILIES, VARIANTS, tiny
from tests.distributed.layouts import AGAIN, FAULTS, FOUR_RANKS, TWO_RANKS

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
    return proofs(folder, (*TWO_RANKS, *(case for case, _, _ in FAULTS)))


@pytest.fixture(scope="session")
def two_ranks_again(folder):
    return proofs(folder, AGAIN)


@pytest.fixture(scope="session")
def four_ranks(folder):
    return proofs(folder, FOUR_RANKS)


def proofs(folder, cases):
    """What the ranks of these cases find, started once."""
    write_cases(folder, list(cases))
    launch(folder, cases[0].named.ranks, WORKER)
    return {case.id: collect(folder, case) for case in cases}
