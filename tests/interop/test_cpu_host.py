"""Names of tensor types, by which Megatron-Core's optimizers tell precisions."""

import pytest
import torch

from adapters.megatron import cpu

pytestmark = pytest.mark.skipif(not cpu.host(), reason="CUDA is present: nothing stands in for it")


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float32, "torch.cuda.FloatTensor"), (torch.bfloat16, "torch.cuda.BFloat16Tensor")]
)
def test_types_are_called_as_on_a_gpu(dtype, name):
    tensor = torch.ones(2, dtype=dtype)
    assert tensor.type() == name
    assert torch.zeros(2).type(tensor.type()).dtype == dtype


def test_conversions_stay():
    assert torch.ones(2).type(torch.int64).dtype == torch.int64
    assert torch.nn.Linear(1, 1).type(torch.float64).weight.dtype == torch.float64
