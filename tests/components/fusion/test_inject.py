"""Numbers of rows against counting by hand; levels added, packed for the next stage and unpacked."""

import pytest
import torch
from torch.testing import assert_close

from components.fusion.inject import NO_ROW, add_level, levels_at, pack_stage, row_numbers, unpack_stage


def by_hand(slots, chunks):
    """Each chunk counts its own rows: block by block, sample by sample, token by token."""
    batch, length = slots[0].shape
    numbers = torch.full((batch, length), NO_ROW)
    each = length // chunks
    for chunk in range(chunks):
        count = 0
        for block in slots:
            for sample in range(batch):
                for token in range(chunk * each, (chunk + 1) * each):
                    if block[sample, token]:
                        numbers[sample, token] = count
                        count += 1
    return numbers


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_rows_are_numbered_within_the_tokens_of_a_rank(chunks):
    generator = torch.Generator().manual_seed(chunks)
    kinds = torch.randint(0, 3, (3, 8), generator=generator)
    slots = [kinds == 1, kinds == 2]
    assert torch.equal(row_numbers(slots, chunks), by_hand(slots, chunks))


def test_a_sequence_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="10 tokens cannot be dealt out to 4 ranks"):
        row_numbers([torch.ones(1, 10, dtype=torch.bool)], 4)


@pytest.mark.parametrize("chunks", [1, 2])
def test_ranks_together_add_what_one_does(chunks):
    """In any order of the tokens: each rank adds the rows of its own, and leaves the others alone."""
    generator = torch.Generator().manual_seed(0)
    slots = torch.rand(2, 8, generator=generator) < 0.5
    order = torch.randperm(8, generator=generator)
    levels = torch.randn(3, int(slots.sum()), 5, generator=generator)
    hidden = torch.randn(8, 2, 5, generator=generator)
    expected = hidden.clone()
    for row, (sample, token) in enumerate(slots.nonzero().tolist()):
        expected[token, sample] += levels[1, row]
    numbers = row_numbers([slots[:, order]], chunks)
    for positions, own in zip(order.chunk(chunks), numbers.chunk(chunks, -1), strict=True):
        level = levels_at(levels, slots, positions)[1]
        assert_close(add_level(hidden[positions], level, own.int()), expected[positions])


def test_gradient_goes_to_the_row_and_to_the_token():
    hidden = torch.zeros(3, 1, 2, requires_grad=True)
    level = torch.zeros(2, 2, requires_grad=True)
    added = add_level(hidden, level, torch.tensor([[1, -1, 0]]))
    (added * torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]])).sum().backward()
    assert level.grad.tolist() == [[5.0, 6.0], [1.0, 2.0]]
    assert hidden.grad[:, 0].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize("rows", [0, 3])
def test_what_is_packed_for_a_stage_is_unpacked_there(rows):
    hidden, levels = torch.randn(4, 2, 5), torch.randn(2, rows, 5)
    packed = pack_stage(hidden, levels if rows else None)
    assert packed.shape == (8 + 2 * rows, 1, 5)
    there, later = unpack_stage(packed, (4, 2), 2)
    assert torch.equal(there, hidden)
    assert (later is None) if not rows else torch.equal(later, levels)
