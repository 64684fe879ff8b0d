"""Tiny graphs, and a cache directory of the tests' own."""

import pytest
import torch
from torch import distributed

from adapters.megatron import runtime
from tests.parity.shipped_spec import tiny_graph


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _no_process_groups():
    """Ranks of worlds that are not there are made in this process, which must not belong to one."""
    if distributed.is_initialized():
        pytest.fail("tests/adapters/plans needs a process of its own, as `make test` gives it", pytrace=False)
    yield
    runtime.destroy()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def experts_graph():
    return tiny_graph(0)


@pytest.fixture(scope="session")
def dense_graph():
    return tiny_graph(1)
