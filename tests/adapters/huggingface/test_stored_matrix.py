"""Places of a rank's part in a stored tensor, and blocks of it, against slices of a tensor."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from adapters.huggingface.rank_share import Inside, Part, Window
from adapters.huggingface.stored_matrix import Matrix

small = st.integers(1, 4)
shapes = st.lists(small, min_size=1, max_size=4).map(tuple)


@given(shapes, st.integers(1, 40))
def test_blocks_are_slices_and_no_larger_than_asked(shape, max_values):
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape)
    matrix = Matrix.of(shape)
    found = []
    for first, last in matrix.blocks(0, matrix.lines, max_values):
        block = tensor[matrix.index(first, last, 0, matrix.width)]
        assert block.numel() == (last - first) * matrix.width
        assert block.numel() <= max(max_values, matrix.width)
        found.append(block.reshape(-1))
    assert torch.equal(torch.cat(found), tensor.reshape(-1))


@given(small, small, small, st.integers(0, 3), st.integers(1, 12), st.integers(1, 20))
def test_blocks_may_begin_and_end_anywhere(rows, inner, width, first, count, max_values):
    tensor = torch.arange(rows * inner * width).reshape(rows, inner, width)
    matrix = Matrix.of((rows, inner, width))
    last = min(first + count, matrix.lines)
    blocks = list(matrix.blocks(first, last, max_values))
    found = [tensor[matrix.index(*block, 0, 1)].reshape(-1) for block in blocks]
    assert torch.equal(torch.cat(found or [tensor[:0, 0, 0]]), tensor.reshape(-1, width)[first : max(first, last), 0])


@given(small, small, small, st.sampled_from([0, 1]))
def test_ranks_share_a_matrix(parts, rows, width, dim):
    shape = [rows, width]
    shape[dim] *= parts
    tensor = torch.arange(rows * width * parts).reshape(shape)
    for index, expected in enumerate(tensor.chunk(parts, dim)):
        window = Window(dim, Part(index, parts))
        assert window.whole((rows, width)) == tuple(shape)
        for line in range(rows):
            first, left = window.origin((rows, width), line)
            assert torch.equal(tensor[first, left : left + width], expected[line])


@given(small, small, small, small, small)
def test_ranks_share_experts_and_what_is_inside(experts, expert_ranks, ranks, rows, width):
    """Both halves of a fused matrix are shared, each on its own; of the other matrix, columns."""
    gate, up = torch.arange(2 * experts * expert_ranks * rows * ranks * width).reshape(2, -1, rows * ranks, width)
    fused = torch.cat([gate, up], 1)
    lines = fused.reshape(-1, width)
    for outer, inner in ((outer, inner) for outer in range(expert_ranks) for inner in range(ranks)):
        window = Window(0, Part(outer, expert_ranks), Inside(1, 2, Part(inner, ranks)))
        mine = [half.chunk(expert_ranks)[outer].chunk(ranks, 1)[inner] for half in (gate, up)]
        expected = torch.cat(mine, 1).reshape(-1, width)
        found = [window.origin((experts, 2 * rows, width), line) for line in range(len(expected))]
        assert torch.equal(lines[[first for first, _ in found]], expected)
        columns = Window(0, Part(outer, expert_ranks), Inside(2, 1, Part(inner, ranks)))
        assert columns.whole((experts, rows, width)) == (experts * expert_ranks, rows, width * ranks)
        assert columns.origin((experts, rows, width), rows * experts - 1) == (
            (outer + 1) * rows * experts - 1,
            inner * width,
        )


@given(small, small, st.lists(small, min_size=2, max_size=4), st.sampled_from([(), (1,), (3,)]))
def test_ranks_share_stretches_each_on_its_own(parts, width, stretches, inner):
    whole = [torch.randint(99, (stretch * parts, *inner, width)) for stretch in stretches]
    lines = torch.cat(whole).reshape(-1, width)
    for index in range(parts):
        window = Window(0, Part(index, parts), stretches=tuple(stretches))
        mine = torch.cat([stretch.chunk(parts)[index] for stretch in whole])
        assert window.whole(tuple(mine.shape)) == tuple(torch.cat(whole).shape)
        found = [window.origin(tuple(mine.shape), line) for line in range(mine[..., 0].numel())]
        assert torch.equal(lines[[first for first, _ in found]], mine.reshape(-1, width))
        assert {left for _, left in found} == {0}
