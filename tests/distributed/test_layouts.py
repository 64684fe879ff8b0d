"""Several ranks against one: loss, every gradient, who sees whom, what freezes, which images are encoded."""

import json

import pytest

from tests.distributed.layouts import AGAIN, FAULTS, FOUR_RANKS, TWO_RANKS

# Four processes on two cores take their time.
EVERY = [*TWO_RANKS, *(pytest.param(case, marks=pytest.mark.slow) for case in (*AGAIN, *FOUR_RANKS))]


@pytest.fixture
def proofs(case, request):
    if case in AGAIN:
        return request.getfixturevalue("two_ranks_again")
    return request.getfixturevalue("two_ranks" if case.named.ranks == 2 else "four_ranks")


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.id)
def test_ranks_find_what_one_finds(case, proofs):
    proof = proofs[case.id]
    assert not proof.problems
    assert len(proof.batches) == 4
    # At least the first and the last row of three pictures; `layout_proof` says which must have been turned.
    assert proof.rows >= 6


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.id)
def test_a_rank_reads_its_own_weights_and_no_others(case, proofs, folder):
    for rank in range(case.named.ranks):
        found = json.loads((folder / f"{case.id}.{rank}.json").read_text())
        assert found["read"] == found["held"]


@pytest.mark.parametrize(("case", "fault", "said"), FAULTS, ids=lambda value: getattr(value, "id", None))
def test_a_fault_shows(case, fault, said, proofs):
    problems = proofs[case.id].problems
    assert any(said in problem for problem in problems), problems
