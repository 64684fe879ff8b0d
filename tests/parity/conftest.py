import pytest
import torch

from adapters.parity.pair import make_pair
from tests.parity.shipped_spec import tiny_graph


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def experts():
    """The shipped spec with experts, beside its oracle."""
    with make_pair(tiny_graph(0)) as pair:
        yield pair


@pytest.fixture(scope="session")
def dense():
    """The shipped spec without experts, beside its oracle."""
    with make_pair(tiny_graph(1)) as pair:
        yield pair
