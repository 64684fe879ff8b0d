"""Levels from inside a tower under layouts: early ones stay on the first stage, late ones travel between stages."""

from pathlib import Path

import pytest
import torch

from adapters.prove.layouts.job import write_cases
from adapters.prove.layouts.launching import launch
from adapters.prove.layouts.running import collect, prepare
from tests.distributed.layouts import SP, case
from tests.level_models import llava_with_levels

AFTER = {"early": None, "late": (0, 2, 3)}
FULL = {"recompute": "full"}
CASES = (
    case("early", "pp2", pp=2),
    case("early", "pp2vp2", pp=2, virtual_stages=2),
    case("late", "pp2vp2", pp=2, virtual_stages=2),
    case("late", "pp2_towers_alone", pp=2, first_stage_layers=0),
    case("late", "pp2_recompute", pp=2, **FULL),
    case("early", "tp2", tp=2),
    case("late", "tp2sp_recompute", tp=2, **SP, **FULL),
    case("early", "cp2", cp=2),
    case("late", "cp2_recompute", cp=2, **FULL),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("levels")
    for variant, after in AFTER.items():
        prepare(llava_with_levels(after), folder / variant)
    write_cases(folder, list(CASES))
    launch(folder, 2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_ranks_find_what_one_finds(case, folder):
    proof = collect(folder, case)
    assert not proof.problems
    # Beside the features, three rows of each of three levels in two packed rows.
    assert proof.rows >= 18
