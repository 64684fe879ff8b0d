"""How sequences are dealt out to context-parallel ranks."""

import pytest
import torch

from components.fusion.scatter import features_at
from components.fusion.sequence_order import SequenceLengthError, SequenceShare

CPU = torch.device("cpu")


def test_a_rank_holds_a_chunk_from_each_end():
    order = SequenceShare(ranks=2).rank_order(8, CPU)
    assert order.tolist() == [0, 1, 6, 7, 2, 3, 4, 5]
    assert SequenceShare(1, 2).own(order).tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_every_position_once_and_causal_work_the_same_everywhere(ranks):
    order = SequenceShare(ranks=ranks).rank_order(48, CPU)
    assert sorted(order.tolist()) == list(range(48))
    pairs = [int((SequenceShare(rank, ranks).own(order) + 1).sum()) for rank in range(ranks)]
    assert len(set(pairs)) == 1


def test_a_length_that_cannot_be_dealt_out():
    with pytest.raises(
        SequenceLengthError, match=r"sequences of 30 tokens .* 2 context-parallel ranks.*: pad them to 32"
    ):
        SequenceShare(ranks=2).rank_order(30, CPU)


def test_features_go_where_their_slots_went():
    slots = torch.tensor([[0, 1, 1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    features = torch.arange(5.0)[:, None]
    order = SequenceShare(ranks=2).rank_order(8, CPU)
    found = [features_at(features, slots, SequenceShare(rank, 2).own(order)) for rank in range(2)]
    assert [there.flatten().tolist() for there, _ in found] == [[0, 3, 4], [1, 2]]
    assert found[0][1].tolist() == [[False, True, False, False], [True, False, False, True]]
