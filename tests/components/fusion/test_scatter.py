"""Features into embeddings: values, order, gradient."""

import pytest
import torch

from components.fusion.feature_counts import FeatureCountError
from components.fusion.scatter import check_slots, placeholder_slots, scatter_features

IMAGE = 9
IDS = torch.tensor([[1, IMAGE, IMAGE, 2, IMAGE], [IMAGE, 3, 3, 3, 3]])


@pytest.fixture
def slots():
    return placeholder_slots(IDS, torch.tensor([IMAGE]))


def test_rows_land_in_batch_major_order(slots):
    features = torch.arange(1.0, 5).unsqueeze(-1).repeat(1, 3)
    placed = scatter_features(torch.zeros(5, 2, 3), features, slots)
    assert placed[:, 0, 0].tolist() == [0, 1, 2, 0, 3]
    assert placed[:, 1, 0].tolist() == [4, 0, 0, 0, 0]


def test_add_keeps_what_is_there(slots):
    placed = scatter_features(torch.full((5, 2, 3), 10.0), torch.ones(4, 3), slots, mode="add")
    assert placed.sum() == 5 * 2 * 3 * 10 + 4 * 3


def test_gradient_goes_to_features_and_to_what_stays(slots):
    embeddings, features = torch.zeros(5, 2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    scatter_features(embeddings, features, slots).sum().backward()
    assert features.grad.eq(1).all()
    assert torch.equal(embeddings.grad[..., 0].T.bool(), ~slots)


def test_stretches_at_the_edges_of_rows_do_not_join(slots):
    """The first row ends with a placeholder and the second begins with one: two stretches in two samples."""
    check_slots(slots, 4, torch.tensor([2, 1, 1]), None, "image")
    with pytest.raises(FeatureCountError):
        check_slots(slots, 4, torch.tensor([2, 2]), None, "image")


def test_a_count_of_rows_that_does_not_fit_the_tower(slots):
    """Under context parallelism surplus rows would otherwise be left out, and nobody told."""
    with pytest.raises(FeatureCountError, match="the tower made 5 image rows, and item_rows counts 4"):
        check_slots(slots, 5, torch.tensor([2, 1, 1]), None, "image")
