"""Items dealt out to ranks; gathering itself is tested on several ranks (tests/distributed)."""

import pytest
import torch

from adapters.megatron import runtime
from adapters.megatron.shared_encoding import EncodingRanks
from components.build_error import BuildError


class Ranks:
    """A place among so many, without processes."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.place = rank, ranks

    def rank(self) -> int:
        return self.place[0]

    def size(self) -> int:
        return self.place[1]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("items", [0, 1, 2, 5, 8])
def test_every_item_once_and_nobody_much_more_than_another(items, ranks):
    shares = [EncodingRanks(Ranks(rank, ranks), None, None).own_items(items) for rank in range(ranks)]
    assert [item for share in shares for item in range(items)[share]] == list(range(items))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
    rows = EncodingRanks(Ranks(0, ranks), None, None).rows_of_ranks([3] * items)
    assert rows == [3 * size for size in sizes]


@pytest.mark.parametrize("made", [3, 5])
def test_rows_that_item_rows_does_not_count(made):
    runtime.ensure()
    group = torch.distributed.group.WORLD
    with pytest.raises(BuildError, match=f"the tower made {made} rows, by item_rows 4"):
        EncodingRanks(group, group, group).gather(torch.zeros(made, 2), [4])
