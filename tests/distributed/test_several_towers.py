"""Several towers on two ranks: loss and every gradient as in one process, whichever tower is frozen or has nothing."""

import json

import pytest

from adapters.prove.layouts.findings import BOUND
from adapters.prove.layouts.gradient_errors import Part, relative_errors
from adapters.prove.layouts.job import found_file, read_alone
from adapters.prove.layouts.launching import launch
from tests.distributed.towers_cases import CASES, FIXED, FROZEN, GRAPHS, ITEMS, prepare


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    for variant in GRAPHS:
        prepare(variant, folder / variant)
    launch(folder, 2, "tests.distributed.towers_worker")
    return folder


def found(towers, case):
    return [json.loads(found_file(towers, case, rank).read_text("utf-8")) for rank in range(2)]


def errors(parts):
    fields = ({**part, "at": tuple(part["at"])} for part in parts)
    return relative_errors([Part(**part) for part in fields])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_loss_and_gradients(towers, case):
    ranks, alone = found(towers, case), read_alone(towers / case.variant)
    right = alone.losses["several"]
    assert all(abs(rank["loss"] - right) <= BOUND * abs(right) for rank in ranks)
    measured = errors([part for rank in ranks for part in rank["parts"]])
    assert measured.keys() == alone.gradients["several"].keys() - FIXED
    assert {name: error for name, error in measured.items() if error > BOUND} == {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_frozen_node_leaves_the_gradients_of_others(towers, case):
    ranks, names = found(towers, case), read_alone(towers / case.variant).gradients["several"]
    weights = {name: node.weights for name, node in GRAPHS[case.variant]().nodes.items()}
    for node in FROZEN[case.variant]:
        measured = errors([part for rank in ranks for part in rank["frozen"][node]])
        assert measured.keys() == {name for name in names if not name.startswith(f"{weights[node]}.")} - FIXED
        assert {name: error for name, error in measured.items() if error > BOUND} == {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_items_are_encoded_once(towers, case):
    """Each of two towers reads every picture; a picture is encoded by one rank of those that are given it."""
    pictures, sounds = (sum(counts) for counts in zip(*ITEMS, strict=True))
    items = 2 * pictures if case.variant == "side_by_side" else pictures + sounds
    encoded = [rank["encoded"] for rank in found(towers, case)]
    assert sum(encoded) == items
    assert (0 in encoded) is (
        case.named.layout.pp == 2 or (case.variant == "side_by_side" and case.named.name == "dp2")
    )
