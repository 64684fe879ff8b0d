"""Pack operations against loops over items, and against transformers' own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.internvl.modeling_internvl import InternVLModel

from components.fusion.pack import PackError, drop_first, pack, pixel_shuffle
from composer.edges.pack import Pack

WIDTH = 3


def rows_of(counts: list[int]) -> torch.Tensor:
    return torch.arange(sum(counts) * WIDTH, dtype=torch.float32).view(-1, WIDTH)


@given(st.lists(st.integers(2, 6), max_size=4), st.integers(1, 2))
def test_drop_first_drops_the_first_rows_of_every_item(counts, dropped):
    features = rows_of(counts)
    kept, item_rows = drop_first(features, torch.tensor(counts, dtype=torch.int64), dropped)
    expected = [item[dropped:] for item in features.split(counts)]
    assert torch.equal(kept, torch.cat([features[:0], *expected]))
    assert item_rows.tolist() == [count - dropped for count in counts]


@given(st.lists(st.integers(1, 3), max_size=4), st.integers(2, 3))
def test_pixel_shuffle_puts_blocks_of_every_item_side_by_side(blocks, block):
    """Grids of different sizes in one batch, block by block, written as loops."""
    sides = [block * number for number in blocks]
    features = rows_of([side**2 for side in sides])
    shuffled, item_rows = pixel_shuffle(features, torch.tensor([side**2 for side in sides], dtype=torch.int64), block)
    expected = []
    for item, side in zip(features.split([side**2 for side in sides]), sides, strict=True):
        grid = item.view(side, side, WIDTH)
        expected += [
            grid[y : y + block, x : x + block].reshape(-1) for y in range(0, side, block) for x in range(0, side, block)
        ]
    assert torch.equal(shuffled, torch.stack(expected) if expected else features.new_zeros(0, WIDTH * block**2))
    assert item_rows.tolist() == [number**2 for number in blocks]


def test_pixel_shuffle_is_that_of_transformers():
    features = torch.randn(2, 36, 5)
    expected = InternVLModel.pixel_shuffle(None, features.view(2, 6, 6, 5), 0.5).reshape(18, 20)
    assert torch.equal(pixel_shuffle(features.flatten(0, 1), torch.tensor([36, 36]), 2)[0], expected)


def test_operations_follow_one_another_and_carry_gradient():
    features = rows_of([5, 17]).requires_grad_()
    packed, item_rows = pack(features, torch.tensor([5, 17]), [Pack(drop_first=1), Pack(pixel_shuffle=0.5)])
    assert packed.shape == (5, 4 * WIDTH)
    assert item_rows.tolist() == [1, 4]
    packed.sum().backward()
    assert features.grad is not None
    dropped = features.grad.eq(0).all(-1).nonzero().flatten().tolist()
    assert dropped == [0, 5]
    assert features.grad[1:5].eq(1).all()


@pytest.mark.parametrize(
    ("counts", "operation", "words"),
    [
        ([4, 1], Pack(drop_first=2), "item 1 has 1 feature rows, of which 2 are to be dropped"),
        ([4, 6], Pack(pixel_shuffle=0.5), "item 1 has 6 feature rows: no square grid"),
        ([9], Pack(pixel_shuffle=0.5), "item 0 has 9 feature rows: no square grid of 2 x 2 blocks"),
    ],
)
def test_rows_that_do_not_fit_name_the_item(counts, operation, words):
    with pytest.raises(PackError, match=words):
        pack(rows_of(counts), torch.tensor(counts), [operation])


@pytest.mark.parametrize("operation", [Pack(drop_first=1), Pack(pixel_shuffle=0.5)])
@pytest.mark.parametrize("counts", [[4, 4], [4], [4, 9]])
def test_rows_that_item_rows_do_not_count_are_refused(operation: Pack, counts: list[int]):
    """A surplus smaller than a block would be dropped without a word."""
    with pytest.raises(PackError, match=rf"the tower made 10 rows, by item_rows {sum(counts)}: they do not fit"):
        pack(rows_of([10]), torch.tensor(counts), [operation])
