"""Tiny graphs, and a cache directory of the tests' own."""

import pytest
import torch

from tests.parity.shipped_spec import tiny_graph


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def experts_graph():
    return tiny_graph(0)


@pytest.fixture(scope="session")
def dense_graph():
    return tiny_graph(1)
