"""Operations against the layouts they name, for any sizes: there and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adapters.huggingface.stored_matrix import Matrix
from adapters.huggingface.weight_operations import (
    OPERATIONS,
    MergeHeads,
    Piece,
    identity,
    merge_gate_up,
    stack_experts,
    stack_transposed_experts,
    transpose,
)

small = st.integers(1, 5)


def counted(*shape: int, start: int = 0) -> Tensor:
    return torch.arange(start, start + torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)


def read(piece: Piece) -> Tensor:
    """The Hugging Face tensor, put together from matrices."""
    matrix = Matrix.of(piece.shape)
    tensor = torch.full((matrix.lines, matrix.width), torch.nan, dtype=torch.float64)
    for view, line, number in piece.matrices():
        left = number * view.shape[1]
        tensor[line : line + view.shape[0], left : left + view.shape[1]] = view
    return tensor.reshape(piece.shape)


def write(piece: Piece, tensor: Tensor) -> None:
    matrix = Matrix.of(piece.shape)
    lines = tensor.reshape(matrix.lines, matrix.width)
    for view, line, number in piece.matrices():
        left = number * view.shape[1]
        view.copy_(lines[line : line + view.shape[0], left : left + view.shape[1]])


@given(small, small, small, small, st.booleans(), st.booleans())
def test_merged_heads_lie_group_by_group(
    groups: int, per_group: int, width: int, hidden: int, values: bool, bias: bool
):
    """Against a loop over groups: its query heads, its key, its value."""
    rest = () if bias else (hidden,)
    query = counted(groups * per_group * width, *rest)
    key = counted(groups * width, *rest, start=10_000)
    value = counted(groups * width, *rest, start=20_000)
    rows = []
    for group in range(groups):
        rows.append(query[group * per_group * width : (group + 1) * per_group * width])
        rows.append(key[group * width : (group + 1) * width])
        if values:
            rows.append(value[group * width : (group + 1) * width])
    merged = torch.cat(rows)
    pieces = MergeHeads(groups * per_group, groups, values)([merged])
    for piece, expected in zip(pieces, [query, key, value][: len(pieces)], strict=True):
        assert piece.shape == expected.shape
        assert torch.equal(read(piece), expected)
    assert len(pieces) == 2 + values


@given(small, small)
def test_gate_comes_before_up(width: int, hidden: int):
    gate, up = counted(width, hidden), counted(width, hidden, start=10_000)
    pieces = merge_gate_up([torch.cat([gate, up])])
    assert [read(piece).tolist() for piece in pieces] == [gate.tolist(), up.tolist()]


@given(small, small, small)
def test_experts_are_stacked(count: int, rows: int, columns: int):
    each = [counted(rows, columns, start=1_000 * expert) for expert in range(count)]
    (piece,) = stack_experts(each)
    assert piece.shape == (count, rows, columns)
    assert torch.equal(read(piece), torch.stack(each))
    (piece,) = stack_transposed_experts(each)
    assert piece.shape == (count, columns, rows)
    assert torch.equal(read(piece), torch.stack(each).transpose(1, 2))


@given(small, small, small)
def test_transposed_experts_have_gate_columns_before_up_columns(experts: int, inside: int, hidden: int):
    gate, up = counted(experts, inside, hidden), counted(experts, inside, hidden, start=10_000)
    merged = list(torch.cat([gate, up], dim=1))
    (piece,) = OPERATIONS["stack transposed gate up"](merged)
    right = torch.cat([gate, up], dim=1).transpose(1, 2)
    assert torch.equal(read(piece), right)
    assert torch.equal(piece.values(), right)
    write(piece, right + 1)
    assert torch.equal(torch.stack(merged), torch.cat([gate, up], dim=1) + 1)


@given(small, small)
def test_transposed_and_same(rows: int, columns: int):
    tensor = counted(rows, columns)
    assert torch.equal(read(transpose([tensor])[0]), tensor.T)
    assert torch.equal(read(identity([tensor])[0]), tensor)


@given(st.sampled_from(sorted(OPERATIONS)), small, small, small)
def test_what_is_written_is_read_and_every_number_is_placed(name: str, count: int, rows: int, columns: int):
    """Invertible: no number of the composed tensors is left or written twice."""
    shape = (2 * rows, columns)
    composed = [torch.full(shape, torch.nan, dtype=torch.float64) for _ in range(count if "stack" in name else 1)]
    pieces = OPERATIONS[name](composed)
    start = 0
    for piece in pieces:
        tensor = counted(*piece.shape, start=start)
        start += tensor.numel()
        write(piece, tensor)
        assert torch.equal(read(piece), tensor)
    placed = torch.cat([tensor.flatten() for tensor in composed])
    assert sorted(placed.tolist()) == list(range(start))


@given(small, small, small, small, st.booleans())
def test_merging_heads_is_invertible(groups: int, per_group: int, width: int, hidden: int, values: bool):
    composed = torch.full((groups * (per_group + 1 + values) * width, hidden), torch.nan, dtype=torch.float64)
    start = 0
    for piece in MergeHeads(groups * per_group, groups, values)([composed]):
        tensor = counted(*piece.shape, start=start)
        start += tensor.numel()
        write(piece, tensor)
    assert sorted(composed.flatten().tolist()) == list(range(start))


@pytest.mark.parametrize("shape", [(), (0, 4), (3,)])
def test_scalars_and_empty_tensors(shape: tuple[int, ...]):
    (piece,) = identity([torch.ones(shape)])
    assert piece.shape == shape
    assert sum(view.numel() for view, _, _ in piece.matrices()) == torch.Size(shape).numel()
